/**
 * A kernel: its source, its compiled pipeline, its way of binding buffers and recording a dispatch.
 *
 * The files beside this one give each kernel its types: the buffers it takes and the grid it needs.
 */

import { GpuError } from "../errors.ts";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { BufferSlice, Constants, KernelSource } from "../gpu/pipelines.ts";
import { RANGE_BYTES } from "./constants.ts";

/** Which rows a pass works on: an entry of the range table, and what the host knows of it. */
export interface RowSet {
  /** Entry of the range table on the GPU; it holds the exact rows. */
  range: number;
  /** Upper bound of the number of rows. */
  count: number;
  /** Upper bound of the rows' positions, plus one. */
  end: number;
}

export class Kernel<B extends string = string> {
  readonly name: string;
  readonly #device: Device;
  readonly #source: KernelSource;
  readonly #constants: Constants;
  #pipeline: GPUComputePipeline | undefined;

  constructor(
    device: Device,
    source: KernelSource & { bindings: Readonly<Record<B, KernelSource["bindings"][string]>> },
    constants: Constants,
  ) {
    this.name = source.name;
    this.#device = device;
    this.#source = source;
    this.#constants = constants;
  }

  /** Compiles the pipeline. A kernel is prepared before it is recorded, since recording does not wait. */
  async prepare(): Promise<void> {
    this.#device.check();
    if (this.#pipeline) return;
    try {
      this.#pipeline = await this.#device.pipelines.get(this.#source, this.#constants);
    } catch (error) {
      this.#device.check(); // a lost device fails compilation too
      throw error;
    }
  }

  /** Whether the pipeline is compiled. */
  get ready(): boolean {
    return this.#pipeline !== undefined;
  }

  /** The pipeline, once compiled: the same object for the same code on the same device. */
  get pipeline(): GPUComputePipeline | undefined {
    return this.#pipeline;
  }

  /** Binds buffers by the names the shader gives them. A row range is bound one entry at a time. */
  bind(buffers: Readonly<Record<B, BufferSlice>>): GPUBindGroup {
    const sizes = Object.entries(this.#source.bindings).flatMap(([name, kind]) =>
      kind === "offset-uniform" ? [[name, RANGE_BYTES] as const] : [],
    );
    return this.#device.pipelines.bind(this.#source, buffers, Object.fromEntries(sizes));
  }

  /**
   * Records a dispatch.
   * @param range entry of the range table, for kernels that work on rows
   */
  record(
    recorder: Recorder,
    group: GPUBindGroup,
    range: number | undefined,
    grid: readonly [number, number?, number?],
  ): void {
    if (!this.#pipeline) throw new GpuError(this.name, "the kernel was recorded before it was prepared");
    recorder.dispatch(this.#pipeline, group, range === undefined ? undefined : range * RANGE_BYTES, grid);
  }
}

/** Workgroups needed to cover `items` with groups of `size`. */
export function groups(items: number, size: number): number {
  return Math.ceil(items / size);
}
