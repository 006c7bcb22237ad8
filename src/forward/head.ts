/**
 * A head: final norm, a matrix of a column an id (in parts where it is too large for one binding), and what becomes of its
 * products: the first stage of an argmax, or logits. The whole vocabulary's, and that of hot ids, are two of the same.
 */

import { GpuError } from "../errors.ts";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { ROW_CAPACITY } from "../kernels/constants.ts";
import { type FewRowVariant, fewRowGroups } from "../kernels/few_row_variant.ts";
import type { RowSet } from "../kernels/kernel.ts";
import type { MatmulKind, MatmulSize } from "../kernels/matmul_form.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { MatrixPart } from "../weights/held_weights.ts";
import type { Constants } from "./constants.ts";
import type { LayerKernels, Product } from "./layer_kernels.ts";

/** What heads of a model share. */
export interface HeadKit {
  device: Device;
  spec: Pick<ModelSpec, "logitScale" | "logitSoftCap">;
  kernels: LayerKernels;
  constants: Constants;
  fewRows: FewRowVariant;
  ranges: GPUBuffer;
  /** The final norm, from the stream to `normed`. */
  finalNorm: GPUBindGroup;
  /** `[ROW_CAPACITY][padded hiddenSize]` */
  normed: GPUBuffer;
  /** `[ROW_CAPACITY][candidatesPerRow]` (logit, id), of the head that leaves most. */
  candidates: GPUBuffer;
}

/** Candidates that the argmax of a head leaves of a row, by part. */
export function candidateCounts(parts: readonly { columns: number }[], fewRows: FewRowVariant): number[] {
  return parts.map(({ columns }) => fewRowGroups("headArgmax", columns, fewRows));
}

export class Head {
  /** Ids that it scores. */
  readonly size: number;
  readonly candidates: GPUBuffer;
  readonly candidatesPerRow: number;
  readonly #kit: HeadKit;
  readonly #parts: readonly MatrixPart[];
  readonly #owner: string;
  readonly #argmax: Product[];
  #logits: { buffer: GPUBuffer; products: Product[] } | undefined;
  #allocation: Promise<{ buffer: GPUBuffer; products: Product[] }> | undefined;

  /** @param owner whom its logits are booked under */
  constructor(kit: HeadKit, parts: readonly MatrixPart[], owner: string) {
    this.#kit = kit;
    this.#parts = parts;
    this.#owner = owner;
    this.size = parts.reduce((sum, { columns }) => sum + columns, 0);
    this.candidates = kit.candidates;
    const counts = candidateCounts(parts, kit.fewRows);
    const resultStride = counts.reduce((sum, count) => sum + count, 0);
    this.candidatesPerRow = resultStride;
    let resultOffset = 0;
    this.#argmax = parts.map((part, i) => {
      const size = { ...sizeOf(part), resultStride, resultOffset, firstId: part.firstColumn };
      resultOffset += counts[i]!;
      const buffers = { ...this.#buffers(part), candidates: kit.candidates };
      return kit.kernels.generated(
        { form: "headArgmax", format: part.format },
        { size, buffers, uniform: this.#uniform },
      );
    });
  }

  /** The kernels that a use of it needs, each format once. */
  kinds(form: "headArgmax" | "store"): MatmulKind<"headArgmax" | "store">[] {
    return this.#parts.map(({ format }) => ({ form, format }));
  }

  /**
   * Allocates the logits, once.
   * @returns `[ROW_CAPACITY][size]` f32
   * @throws GpuMemoryError | GpuError
   */
  async allocateLogits(): Promise<GPUBuffer> {
    const bytes = ROW_CAPACITY * this.size * 4;
    // Two who ask at once get the same.
    this.#allocation ??= this.#kit.device.allocating("logits", bytes, () => this.#bindLogits(bytes));
    try {
      this.#logits = await this.#allocation;
    } catch (error) {
      this.#allocation = undefined;
      throw error;
    }
    return this.#logits.buffer;
  }

  /** Records final norm, head and first stage of the argmax of `rows`, wherever in the layers they are. */
  argmax(recorder: Recorder, rows: RowSet): void {
    this.#norm(recorder, rows);
    for (const part of this.#argmax) part(recorder, rows);
  }

  /**
   * Records final norm and head of `rows`, wherever in the layers they are.
   * @param rows among the first `ROW_CAPACITY` of the table
   * @returns the buffer of logits, which has been allocated
   */
  logits(recorder: Recorder, rows: RowSet): GPUBuffer {
    if (!this.#logits) throw new GpuError("head", "logits were recorded before they were prepared");
    this.#norm(recorder, rows);
    for (const part of this.#logits.products) part(recorder, rows);
    return this.#logits.buffer;
  }

  #norm(recorder: Recorder, rows: RowSet): void {
    this.#kit.kernels.finalNorm.dispatch(recorder, this.#kit.finalNorm, rows);
  }

  #bindLogits(bytes: number): { buffer: GPUBuffer; products: Product[] } {
    const { device, kernels, spec } = this.#kit;
    const { logitScale: factor, logitSoftCap: softCap } = spec;
    const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC;
    const output = device.ledger.allocate(this.#owner, "logits", bytes, usage);
    const products = this.#parts.map((part) => {
      const size = { ...sizeOf(part), resultStride: this.size, resultOffset: part.firstColumn, factor, softCap };
      const buffers = { ...this.#buffers(part), output };
      return kernels.generated({ form: "store", format: part.format }, { size, buffers, uniform: this.#uniform });
    });
    return { buffer: output, products };
  }

  #buffers({ weight, scales }: MatrixPart) {
    const { ranges: range, normed: input } = this.#kit;
    return { range, input, weight, scales };
  }

  readonly #uniform = (words: Uint32Array<ArrayBuffer>) => this.#kit.constants.uniform(words);
}

function sizeOf({ inputSize, columns }: MatrixPart): MatmulSize {
  return { inputSize, outputs: columns };
}
