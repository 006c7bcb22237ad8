/**
 * Compute pipelines: assembled from WGSL pieces, compiled asynchronously when first asked for, kept.
 *
 * A kernel's code is a list of plain WGSL texts behind a preamble of named constants. WGSL lets declarations stand in any
 * order, so putting texts one after another is all the linking that is needed (docs/internals.md says why no linker).
 */

import { GpuError } from "../errors.ts";
import { scoped } from "./error_scope.ts";
import { unroll } from "./unroll.ts";
import { SHADER_STAGE_COMPUTE } from "./usage.ts";

/** A buffer, or a run of its bytes that begins at a multiple of 256. */
export type BufferSlice = GPUBuffer | { readonly buffer: GPUBuffer; readonly offset: number; readonly size: number };

/** How a kernel sees one of its buffers. `offset-uniform`: a uniform bound at an offset given at each dispatch. */
export type BindingKind = "uniform" | "offset-uniform" | "read" | "read-write";

/** Named values put before a kernel's code: `const NAME = <value>u` for a whole number, a string as it stands. */
export type Constants = Readonly<Record<string, number | string>>;

export interface KernelSource {
  /** Name in error messages, profiles and the pipeline cache. */
  name: string;
  /** WGSL texts, concatenated. The entry point is `main`. */
  code: readonly string[];
  /** Buffers in the order of their `@binding` numbers in group 0, by the name the shader gives them. */
  bindings: Readonly<Record<string, BindingKind>>;
  /** WGSL extensions the code needs; the device has the features of the same names. */
  enables?: readonly "subgroups"[];
  /** WGSL language features the code needs; `gpu.wgslLanguageFeatures` has them. */
  requires?: readonly "packed_4x8_integer_dot_product"[];
}

const LAYOUT_TYPES: Record<BindingKind, GPUBufferBindingLayout> = {
  uniform: { type: "uniform" },
  "offset-uniform": { type: "uniform", hasDynamicOffset: true },
  read: { type: "read-only-storage" },
  "read-write": { type: "storage" },
};

/** The WGSL text of a kernel: its constants in front, its marked loops unrolled. */
export function assemble(source: KernelSource, constants: Constants): string {
  const preamble = Object.entries(constants).map(
    ([name, value]) => `const ${name} = ${typeof value === "number" ? `${value}u` : value};`,
  );
  const enables = (source.enables ?? []).map((extension) => `enable ${extension};`);
  const requires = (source.requires ?? []).map((feature) => `requires ${feature};`);
  return [...enables, ...requires, ...preamble, ...source.code.map((code) => unroll(code, constants))].join("\n");
}

export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  readonly #pipelines = new Map<string, Promise<GPUComputePipeline>>();
  /** Wall-clock time during which at least one compilation was under way. */
  #compileMs = 0;
  #compiling = 0;
  #compilingSince = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Pipelines asked for so far. */
  get count(): number {
    return this.#pipelines.size;
  }

  /** Milliseconds spent compiling. */
  get compileMs(): number {
    return this.#compileMs;
  }

  /** The bind group layout of a kernel: group 0, one entry a binding. Shared by all its pipelines. */
  layout(source: KernelSource): GPUBindGroupLayout {
    const kinds = Object.values(source.bindings);
    const key = kinds.join(",");
    let layout = this.#layouts.get(key);
    if (!layout) {
      layout = this.#device.createBindGroupLayout({
        label: key,
        entries: kinds.map((kind, binding) => ({
          binding,
          visibility: SHADER_STAGE_COMPUTE,
          buffer: LAYOUT_TYPES[kind],
        })),
      });
      this.#layouts.set(key, layout);
    }
    return layout;
  }

  /**
   * Binds buffers to a kernel by name.
   * @param sizes bytes to bind of a buffer, by name; an `offset-uniform` needs one, the others default to the whole buffer
   */
  bind(
    source: KernelSource,
    buffers: Readonly<Record<string, BufferSlice>>,
    sizes: Readonly<Record<string, number>> = {},
  ): GPUBindGroup {
    return this.#device.createBindGroup({
      label: source.name,
      layout: this.layout(source),
      entries: Object.keys(source.bindings).map((name, binding) => {
        const slice = buffers[name];
        if (!slice) throw new GpuError(source.name, `no buffer was given for the binding '${name}'`);
        if ("buffer" in slice) return { binding, resource: slice };
        return { binding, resource: { buffer: slice, size: sizes[name] } };
      }),
    });
  }

  /**
   * The kernel's pipeline for these constants, compiled on first use.
   * @throws GpuError with the kernel's name and the compiler's messages
   */
  get(source: KernelSource, constants: Constants = {}): Promise<GPUComputePipeline> {
    const code = assemble(source, constants);
    const key = `${source.name}\n${code}`;
    let pipeline = this.#pipelines.get(key);
    if (!pipeline) {
      pipeline = this.#compile(source, `${source.name} ${JSON.stringify(constants)}`, code);
      this.#pipelines.set(key, pipeline);
      pipeline.catch(() => this.#pipelines.delete(key));
    }
    return pipeline;
  }

  async #compile(source: KernelSource, label: string, code: string): Promise<GPUComputePipeline> {
    if (this.#compiling++ === 0) this.#compilingSince = performance.now();
    try {
      // What is wrong with the two reaches us with the pipeline; it is not the device's failure, so a scope keeps it from it.
      const { value } = scoped(this.#device, "validation", () => ({
        module: this.#device.createShaderModule({ label, code }),
        layout: this.#device.createPipelineLayout({ label, bindGroupLayouts: [this.layout(source)] }),
      }));
      const { module, layout } = value();
      try {
        return await this.#device.createComputePipelineAsync({
          label,
          layout,
          compute: { module, entryPoint: "main" },
        });
      } catch (cause) {
        const compilation = await module.getCompilationInfo().catch(() => undefined); // a lost device knows nothing
        const errors = (compilation?.messages ?? [])
          .filter((m) => m.type === "error")
          .map((m) => `line ${m.lineNum}: ${m.message}`);
        const message = errors.length > 0 ? errors.join("; ") : cause instanceof Error ? cause.message : String(cause);
        throw new GpuError(label, message, { cause });
      }
    } finally {
      if (--this.#compiling === 0) this.#compileMs += performance.now() - this.#compilingSince;
    }
  }
}
