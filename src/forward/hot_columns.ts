/**
 * The columns of the head of the ids that matter most, for drafts: those of a table of ids, copied once a text (FR-Spec, Zhao et al.
 * 2025, section 3, there with a fixed table). Verification uses the whole head, so no id is lost to the text.
 */

import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { GatherColumns, gatherShape } from "../kernels/gather_columns.ts";
import { stepCount } from "../kernels/weight_format.ts";
import type { MatrixPart } from "../weights/held_weights.ts";

/** A copy of a run of the head's ids. */
interface Gather {
  weight: GPUBindGroup;
  scales: GPUBindGroup | undefined;
}

export class HotColumns {
  /** The ids in ascending order: column i is that of `ids[i]`. */
  readonly ids: GPUBuffer;
  readonly matrix: MatrixPart;
  readonly #device: Device;
  readonly #kernels: { weight: GatherColumns; scales: GatherColumns };
  readonly #gathers: Gather[];
  /** Words of scales, and of biases behind them, of a column. */
  readonly #scaleRows: number;

  /**
   * @param owner whom its buffers are booked under
   * @param head the whole head, in parts
   * @param size number of ids
   */
  constructor(device: Device, owner: string, head: readonly MatrixPart[], size: number) {
    const [first] = head;
    const { format, inputSize, bias } = first!;
    this.#device = device;
    this.#kernels = { weight: new GatherColumns(device, "vec4u"), scales: new GatherColumns(device, "u32") };
    const { STORAGE, UNIFORM, COPY_DST } = BufferUsage;
    const allocate = (name: string, bytes: number, usage: number) =>
      device.ledger.allocate(owner, name, bytes, usage | COPY_DST);
    // A word stands in for scales where there are none.
    this.#scaleRows = Math.floor(first!.scales.size / 4 / first!.columns);
    this.ids = allocate("ids", size * 4, STORAGE);
    const weight = allocate("weight", stepCount(format, inputSize) * size * 16, STORAGE);
    const scales = allocate("scales", Math.max(1, this.#scaleRows * size) * 4, STORAGE);
    this.matrix = { format, weight, scales, inputSize, columns: size, firstColumn: 0, bias };
    this.#gathers = head.map((part) => {
      const words = gatherShape(size, part.columns, part.firstColumn);
      const shape = allocate("gather shape", words.byteLength, UNIFORM);
      device.handle.queue.writeBuffer(shape, 0, words);
      const { ids } = this;
      return {
        weight: this.#kernels.weight.bind({ shape, ids, source: part.weight, target_: weight }),
        scales:
          this.#scaleRows > 0
            ? this.#kernels.scales.bind({ shape, ids, source: part.scales, target_: scales })
            : undefined,
      };
    });
  }

  /** Bytes of a head over `size` ids: what each draft reads of it. */
  get bytes(): number {
    return this.matrix.weight.size + this.matrix.scales.size;
  }

  async prepare(): Promise<void> {
    await Promise.all([this.#kernels.weight.prepare(), this.#kernels.scales.prepare()]);
  }

  /**
   * Makes it the head of these ids.
   * @param ids ascending, as many as it has columns
   */
  fill(ids: Uint32Array<ArrayBuffer>): void {
    const { columns, format, inputSize } = this.matrix;
    this.#device.handle.queue.writeBuffer(this.ids, 0, ids);
    const recorder = new Recorder(this.#device.handle, "hot head");
    for (const { weight, scales } of this.#gathers) {
      this.#kernels.weight.dispatch(recorder, weight, columns, stepCount(format, inputSize));
      if (scales) this.#kernels.scales.dispatch(recorder, scales, columns, this.#scaleRows);
    }
    this.#device.submit(recorder);
  }
}
