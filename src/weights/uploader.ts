/** Stages chunks of a checkpoint and has the GPU lay them out, rounded or quantised. */

import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { Pace } from "../gpu/pace.ts";
import { PacedQueue } from "../gpu/paced_queue.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { REPACK_SHAPE_BYTES, Repack, repackShape } from "../kernels/repack.ts";
import { rowBytes, type SourceType } from "../kernels/source_type.ts";
import { formatName, type WeightFormat } from "../kernels/weight_format.ts";
import type { HeadOrder } from "../model/spec.ts";
import type { Matrix } from "./held_weights.ts";

/** Bytes of a checkpoint on their way to the GPU at one time, at most; a first chunk, that no device takes long for. */
export const STAGING_BYTES = 8 * 2 ** 20;
const FIRST_CHUNK_BYTES = 2 ** 18;
const LEAST_CHUNK_BYTES = 2 ** 16;
/** Staging chunks the queue may hold before the host waits: bounds what the driver keeps in host memory. */
const CHUNKS_IN_FLIGHT = 4;

/** A kernel and how fast it is here, in bytes of the checkpoint. */
interface Way {
  kernel: Repack;
  pace: Pace;
}

/** Rows of a landing that are laid at once. */
interface Chunk {
  rows: number;
  /** The first of them, counted from the landing's first. */
  row: number;
  /** The column that the landing's first row becomes, but for the order of heads. */
  firstColumn: number;
  headOrder: HeadOrder | undefined;
}

export class Uploader {
  readonly #device: Device;
  readonly #queue: PacedQueue;
  readonly #shape: GPUBuffer;
  #staging: GPUBuffer;
  readonly #ways = new Map<string, Way>();

  constructor(device: Device) {
    this.#device = device;
    this.#queue = new PacedQueue(device, {
      first: FIRST_CHUNK_BYTES,
      least: LEAST_CHUNK_BYTES,
      most: STAGING_BYTES,
      inFlight: CHUNKS_IN_FLIGHT,
    });
    const { STORAGE, UNIFORM, COPY_DST } = BufferUsage;
    this.#shape = device.ledger.allocate("staging", "repack shape", REPACK_SHAPE_BYTES, UNIFORM | COPY_DST);
    this.#staging = device.ledger.allocate("staging", "chunk", STAGING_BYTES, STORAGE | COPY_DST);
  }

  #way(dtype: SourceType, format: WeightFormat): Way {
    const key = `${dtype} ${formatName(format)}`;
    const way = this.#ways.get(key) ?? {
      kernel: new Repack(this.#device, dtype, format),
      pace: this.#queue.newPace(),
    };
    this.#ways.set(key, way);
    return way;
  }

  /** Rows of a matrix that the next chunk should hold; a row is never cut. */
  rowsAtOnce(dtype: SourceType, { format, inputSize }: Matrix): number {
    return Math.max(1, Math.floor(this.#way(dtype, format).pace.units / rowBytes(dtype, inputSize)));
  }

  async lay(
    bytes: Uint8Array<ArrayBuffer>,
    dtype: SourceType,
    { rows, row, firstColumn, headOrder }: Chunk,
    { format, weight, scales, inputSize, columns }: Matrix,
  ): Promise<void> {
    const { queue } = this.#device.handle;
    const { kernel, pace } = this.#way(dtype, format);
    await kernel.prepare();
    this.#reserve(bytes.byteLength);
    queue.writeBuffer(this.#shape, 0, repackShape(rows, inputSize, firstColumn, columns, row, headOrder));
    this.#stage(bytes);
    const recorder = new Recorder(this.#device.handle, "lay weights");
    const group = kernel.bind({ shape: this.#shape, source: this.#staging, weight, scales });
    kernel.dispatch(recorder, group, rows, inputSize);
    await this.#queue.submit(recorder, bytes.byteLength, pace);
  }

  /** Writes take whole words; rows of blocks need not end with one. */
  #stage(bytes: Uint8Array<ArrayBuffer>): void {
    const { queue } = this.#device.handle;
    const whole = bytes.byteLength - (bytes.byteLength % 4);
    queue.writeBuffer(this.#staging, 0, bytes, 0, whole);
    if (whole === bytes.byteLength) return;
    const last = new Uint8Array(4);
    last.set(bytes.subarray(whole));
    queue.writeBuffer(this.#staging, whole, last);
  }

  /** Waits until the GPU has laid out everything. */
  async finished(): Promise<void> {
    await this.#device.handle.queue.onSubmittedWorkDone();
    this.#device.check();
  }

  /** A single row longer than the staging buffer needs a longer one. */
  #reserve(bytes: number): void {
    if (bytes <= this.#staging.size) return;
    const { ledger } = this.#device;
    ledger.release(this.#staging);
    this.#staging = ledger.allocate("staging", "chunk", bytes, BufferUsage.STORAGE | BufferUsage.COPY_DST);
  }

  dispose(): void {
    this.#device.ledger.releaseOwner("staging");
  }
}
