/**
 * The few-row matmul in its four forms (shaders/matmul/): store, add to the residual, gated MLP, and head with argmax.
 *
 * A form is compiled for buckets of rows, M in {1, 2, 4, 8, 16}, when first needed; more rows than 16 run as slabs. The
 * bits of a row must not depend on M. WGSL does not promise that a compiler keeps them, so a bucket is compared with the
 * one-row pipeline on this device before it is used, and left out where it differs.
 */

import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { COMMON_CONSTANTS, WORKGROUP } from "./constants.ts";
import { groups, Kernel, type RowSet } from "./kernel.ts";
import { columnsOf, type MatmulBinding, type MatmulForm, matmulSource } from "./matmul_form.ts";
import { matchesOneRowTwin } from "./twin_check.ts";

/** Rows a thread of a pipeline computes. */
export const BUCKETS = [1, 2, 4, 8, 16] as const;
export type Bucket = (typeof BUCKETS)[number];

/** The smallest bucket of `available` that holds `count` rows, or the largest there is. */
export function bucketFor(count: number, available: readonly Bucket[]): Bucket {
  return available.find((bucket) => bucket >= count) ?? available[available.length - 1]!;
}

/** A weight matrix and its activations, bound. `columns` is the number of outputs a row. */
export interface BoundMatmul {
  readonly group: GPUBindGroup;
  readonly columns: number;
}

export class FewRowMatmul {
  readonly form: MatmulForm;
  readonly #device: Device;
  readonly #matchesOneRowTwin: typeof matchesOneRowTwin;
  readonly #kernels = new Map<Bucket, Kernel<MatmulBinding>>();
  /** Buckets whose rows are bit-equal to the one-row pipeline's here. Undecided ones are checked when first prepared. */
  readonly #verdicts = new Map<Bucket, Promise<boolean>>();
  readonly #refused = new Set<Bucket>();

  /** @param check decides whether a bucket's rows are bit-equal to the one-row pipeline's; tests put another in its place */
  constructor(device: Device, form: MatmulForm, check = matchesOneRowTwin) {
    this.form = form;
    this.#device = device;
    this.#matchesOneRowTwin = check;
    for (const bucket of BUCKETS) {
      const constants = { ...COMMON_CONSTANTS, M: bucket, COLUMNS: columnsOf(form) };
      this.#kernels.set(bucket, new Kernel(device, matmulSource(form), constants));
    }
  }

  /** Buckets in use on this device: all that were not refused. */
  get buckets(): Bucket[] {
    return BUCKETS.filter((bucket) => !this.#refused.has(bucket));
  }

  /** Compiles what `count` rows need, after checking the bucket against its one-row twin. */
  async prepare(count: number): Promise<void> {
    for (;;) {
      const bucket = bucketFor(count, this.buckets);
      await Promise.all([this.kernel(1).prepare(), this.kernel(bucket).prepare()]);
      if (bucket === 1) return;
      let verdict = this.#verdicts.get(bucket);
      if (!verdict) {
        verdict = this.#matchesOneRowTwin(this.#device, this.form, this.kernel(1), this.kernel(bucket), bucket);
        this.#verdicts.set(bucket, verdict);
        verdict.catch(() => this.#verdicts.delete(bucket)); // undecided: asked again next time
      }
      if (await verdict) return;
      this.#refused.add(bucket);
    }
  }

  /** The kernel of one bucket. */
  kernel(bucket: Bucket): Kernel<MatmulBinding> {
    return this.#kernels.get(bucket)!;
  }

  /** Binds a weight matrix (`[K / 4][columns of weight]` vec4) to the rows it reads and writes. */
  bind(buffers: Readonly<Record<MatmulBinding, GPUBuffer>>, columns: number): BoundMatmul {
    return { group: this.kernel(1).bind(buffers), columns };
  }

  /** Records the product for `rows`, with the smallest compiled bucket that holds them. */
  record(recorder: Recorder, bound: BoundMatmul, rows: RowSet): void {
    const ready = this.buckets.filter((bucket) => this.kernel(bucket).ready);
    const bucket = ready.length > 0 ? bucketFor(rows.count, ready) : 1;
    const grid = [groups(bound.columns, WORKGROUP), groups(rows.count, bucket)] as const;
    this.kernel(bucket).record(recorder, bound.group, rows.range, grid);
  }
}
