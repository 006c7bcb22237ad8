/**
 * The few-row matmul in its forms (shaders/matmul/few_rows.wgsl).
 *
 * A form is compiled for buckets of rows, M in {1, 2, 4, 8, 16}, when first needed; more rows than 16 run as slabs. The
 * bits of a row must not depend on M. WGSL does not promise that a compiler keeps them, so a bucket is compared with the
 * one-row pipeline on this device before it is used, and left out where it differs.
 */

import dotBlocks from "../../shaders/matmul/dot_blocks.wgsl?raw";
import dotFloats from "../../shaders/matmul/dot_floats.wgsl?raw";
import fewRows from "../../shaders/matmul/few_rows.wgsl?raw";
import finishSubgroup from "../../shaders/matmul/finish_subgroup.wgsl?raw";
import finishThread from "../../shaders/matmul/finish_thread.wgsl?raw";
import finishWorkgroup from "../../shaders/matmul/finish_workgroup.wgsl?raw";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { KernelSource } from "../gpu/pipelines.ts";
import { COMMON_CONSTANTS } from "./constants.ts";
import { COLUMNS, type FewRowVariant, fewRowGroups, outputsPerThread, THREAD_VARIANT } from "./few_row_variant.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";
import {
  kindName,
  type MatmulBinding,
  type MatmulForm,
  type MatmulKind,
  type MatmulSize,
  matmulBindings,
  matmulCode,
  matmulShape,
} from "./matmul_form.ts";
import { matchesOneRowTwin } from "./twin_check.ts";
import { isBlockFormat } from "./weight_format.ts";

/** Rows a thread of a pipeline computes. */
export const BUCKETS = [1, 2, 4, 8, 16] as const;
export type Bucket = (typeof BUCKETS)[number];

/** Buckets by what they are worth: 8 rows are one pass over the weights for most drafts, 4 and 2 make shorter ones cheaper. */
const BY_WORTH: readonly Bucket[] = [1, 8, 4, 2, 16];

/** Pipelines of few-row matmuls that a model may come to: with its others, and the logits' head, no more than 40. */
const MOST_PIPELINES = 20;

/** Buckets that a model of so many kinds of few-row matmuls uses: a GGUF file of several block types has more kinds than others. */
export function bucketsFor(kinds: number): readonly Bucket[] {
  return BY_WORTH.slice(0, Math.max(2, Math.floor(MOST_PIPELINES / kinds)));
}

/** The smallest bucket of `available` that holds `count` rows, or the largest there is. */
export function bucketFor(count: number, available: readonly Bucket[]): Bucket {
  return available.find((bucket) => bucket >= count) ?? available[available.length - 1]!;
}

/** Slices that finish rows, each its own: more would be idle with one row. */
const FINISHERS = 4;

const FINISH = { thread: finishThread, subgroup: finishSubgroup, workgroup: finishWorkgroup } as const;

/** A weight matrix and its activations, bound. */
export interface BoundMatmul {
  readonly group: GPUBindGroup;
  /** Outputs a row. */
  readonly outputs: number;
  /** Bytes of the weight matrix with its scales: what a slab of rows reads. */
  readonly weightBytes: number;
}

/** The kernel of a form for M rows. */
export function fewRowKernel<F extends MatmulForm>(
  device: Device,
  kind: MatmulKind<F>,
  variant: FewRowVariant,
  M: Bucket,
): Kernel<MatmulBinding<F>> {
  const { code, constants } = matmulCode(kind);
  const dot = isBlockFormat(kind.format) ? dotBlocks : dotFloats;
  const bindings = matmulBindings(kind.form);
  const source: KernelSource & { bindings: typeof bindings } = {
    name: `matmul/few_rows ${kindName(kind)} ${variant.kind}`,
    code: [...code, fewRows, dot, FINISH[variant.kind]],
    bindings,
    ...(variant.kind === "subgroup" && { enables: ["subgroups"] as const }),
  };
  return new Kernel(device, source, {
    ...COMMON_CONSTANTS,
    ...constants,
    M,
    COLUMNS,
    OUTPUTS: outputsPerThread(kind.form),
    SLICES: variant.slices,
    FINISHERS: variant.slices === 1 ? 1 : FINISHERS,
  });
}

export class FewRowMatmul<F extends MatmulForm = MatmulForm> {
  readonly kind: MatmulKind<F>;
  readonly variant: FewRowVariant;
  readonly #device: Device;
  readonly #matchesOneRowTwin: typeof matchesOneRowTwin;
  readonly #kernels = new Map<Bucket, Kernel<MatmulBinding<F>>>();
  /** Buckets whose rows are bit-equal to the one-row pipeline's here. Undecided ones are checked when first prepared. */
  readonly #verdicts = new Map<Bucket, Promise<boolean>>();
  readonly #refused = new Set<Bucket>();
  /** Buckets that are compiled to be compared with the one-row pipeline, and have not been yet. */
  readonly #undecided = new Set<Bucket>();

  /** @param check decides whether a bucket's rows are bit-equal to the one-row pipeline's; tests put another in its place */
  constructor(device: Device, kind: MatmulKind<F>, variant: FewRowVariant = THREAD_VARIANT, check = matchesOneRowTwin) {
    this.kind = kind;
    this.variant = variant;
    this.#device = device;
    this.#matchesOneRowTwin = check;
    for (const bucket of BUCKETS) this.#kernels.set(bucket, fewRowKernel(device, kind, variant, bucket));
  }

  /** Buckets in use on this device: all that were not refused. */
  get buckets(): Bucket[] {
    return BUCKETS.filter((bucket) => !this.#refused.has(bucket));
  }

  /** Buckets that are not used, because their rows are not bit-equal to the one-row pipeline's here. */
  get refused(): Bucket[] {
    return [...this.#refused];
  }

  /**
   * Compiles what `count` rows need, after checking the bucket against its one-row twin.
   * @param wanted buckets to choose from, with 1 among them
   */
  async prepare(count: number, wanted: readonly Bucket[] = BUCKETS): Promise<void> {
    for (;;) {
      const bucket = bucketFor(
        count,
        this.buckets.filter((each) => wanted.includes(each)),
      );
      if (bucket !== 1 && !this.#verdicts.has(bucket)) this.#undecided.add(bucket);
      await Promise.all([this.kernel(1).prepare(), this.kernel(bucket).prepare()]);
      if (bucket === 1) return;
      let verdict = this.#verdicts.get(bucket);
      if (!verdict) {
        verdict = this.#matchesOneRowTwin(this.#device, this.kind, this.variant, {
          alone: this.kernel(1),
          together: this.kernel(bucket),
          count: bucket,
        });
        this.#verdicts.set(bucket, verdict);
        verdict.catch(() => this.#verdicts.delete(bucket)); // undecided: asked again next time
      }
      if (await verdict) {
        this.#undecided.delete(bucket);
        return;
      }
      this.#refused.add(bucket);
    }
  }

  /** The kernel of one bucket. */
  kernel(bucket: Bucket): Kernel<MatmulBinding<F>> {
    return this.#kernels.get(bucket)!;
  }

  /** Contents of the `Shape` uniform. */
  shape(size: MatmulSize): Uint32Array<ArrayBuffer> {
    return matmulShape(this.kind, size, outputsPerThread(this.kind.form));
  }

  /** Binds a weight matrix to the rows it reads and writes. */
  bind(buffers: Readonly<Record<MatmulBinding<F>, GPUBuffer>>, outputs: number): BoundMatmul {
    const { weight, scales } = buffers as Readonly<Record<"weight" | "scales", GPUBuffer>>;
    const weightBytes = weight.size + (isBlockFormat(this.kind.format) ? scales.size : 0);
    return { group: this.kernel(1).bind(buffers), outputs, weightBytes };
  }

  /**
   * Records the product for `rows`, with the smallest compiled bucket that holds them; not with one that is being tried, while others are
   * generated.
   */
  record(recorder: Recorder, bound: BoundMatmul, rows: RowSet): void {
    const ready = this.buckets.filter((bucket) => this.kernel(bucket).ready && !this.#undecided.has(bucket));
    const bucket = ready.length > 0 ? bucketFor(rows.count, ready) : 1;
    const grid = [fewRowGroups(this.kind.form, bound.outputs, this.variant), groups(rows.count, bucket)] as const;
    this.kernel(bucket).record(recorder, bound.group, rows.range, grid);
    recorder.streamedBytes += bound.weightBytes * grid[1];
  }
}
