/**
 * Sums of hidden-state pairs: what goes in at exit layers, divided by its root mean square, and what comes out of the last layer, the same
 * way. The GPU adds them up while a text goes through the model.
 */

import type { Forward } from "../forward/forward.ts";
import type { PassRows, RowTable } from "../forward/row_table.ts";
import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { PacedQueue } from "../gpu/paced_queue.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { PROMPT_CAPACITY } from "../kernels/constants.ts";
import { Gram, type GramSize, gramShape } from "../kernels/gram.ts";
import { streamStride } from "../kernels/matmul_form.ts";
import { RmsNorm, rmsNormShape } from "../kernels/rms_norm.ts";
import type { PairSums } from "./ridge.ts";

const OWNER = "calibration";
/** Rows through a layer that a first submission holds, and the fewest of any. */
const FIRST_UNITS = 32;
const LEAST_UNITS = 32;

/** One exit layer's. */
interface Exit {
  layer: number;
  /** `[PROMPT_CAPACITY][hiddenSize + 4]`: normed, then a one and three zeros. */
  inputs: GPUBuffer;
  products: GPUBuffer;
  targets: GPUBuffer;
  norm: GPUBindGroup;
  gram: GPUBindGroup;
  cross: GPUBindGroup;
}

export class PairSumsCollector {
  readonly #device: Device;
  readonly #forward: Forward;
  readonly #table: RowTable;
  readonly #kernels: { norm: RmsNorm; gram: Gram };
  readonly #sizes: { gram: GramSize; cross: GramSize };
  readonly #exits: Exit[];
  readonly #lastNorm: GPUBindGroup;
  readonly #queue: PacedQueue;

  /** @param exitLayers ascending */
  private constructor(device: Device, forward: Forward, table: RowTable, exitLayers: readonly number[]) {
    const { hiddenSize: size, layers, rmsNormEps } = forward.spec;
    const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = BufferUsage;
    const stride = size + 4;
    const { ledger, handle } = device;
    const storage = (name: string, floats: number) =>
      ledger.allocate(OWNER, name, floats * 4, STORAGE | COPY_SRC | COPY_DST);
    const uniform = (name: string, words: Uint32Array<ArrayBuffer>) => {
      const buffer = ledger.allocate(OWNER, name, words.byteLength, UNIFORM | COPY_DST);
      handle.queue.writeBuffer(buffer, 0, words);
      return buffer;
    };
    this.#device = device;
    this.#forward = forward;
    this.#table = table;
    this.#kernels = { norm: new RmsNorm(device), gram: new Gram(device) };
    this.#sizes = {
      gram: { left: stride, right: stride, leftStride: stride, rightStride: stride },
      cross: { left: stride, right: size, leftStride: stride, rightStride: size },
    };
    const ones = storage("ones", size);
    handle.queue.writeBuffer(ones, 0, new Float32Array(size).fill(1));
    const shapes = {
      norm: uniform("norm shape", rmsNormShape(size, rmsNormEps, streamStride(size), stride)),
      lastNorm: uniform("last norm shape", rmsNormShape(size, rmsNormEps, streamStride(size), size)),
      gram: uniform("gram shape", gramShape(this.#sizes.gram)),
      cross: uniform("cross shape", gramShape(this.#sizes.cross)),
    };
    const { stream } = forward;
    const range = table.ranges;
    const outputs = storage("outputs", PROMPT_CAPACITY * size);
    const { norm, gram } = this.#kernels;
    this.#lastNorm = norm.bind({ range, shape: shapes.lastNorm, hidden: stream, weight: ones, normed: outputs });
    this.#exits = exitLayers.map((layer) => {
      const inputs = storage(`inputs ${layer}`, PROMPT_CAPACITY * stride);
      const products = storage(`products ${layer}`, stride * stride);
      const targets = storage(`targets ${layer}`, stride * size);
      const one = new Float32Array(PROMPT_CAPACITY * stride);
      for (let row = 0; row < PROMPT_CAPACITY; row++) one[row * stride + size] = 1;
      handle.queue.writeBuffer(inputs, 0, one);
      return {
        ...{ layer, inputs, products, targets },
        norm: norm.bind({ range, shape: shapes.norm, hidden: stream, weight: ones, normed: inputs }),
        gram: gram.bind({ range, shape: shapes.gram, left: inputs, right: inputs, sums: products }),
        cross: gram.bind({ range, shape: shapes.cross, left: inputs, right: outputs, sums: targets }),
      };
    });
    this.#queue = new PacedQueue(device, {
      ...{ first: FIRST_UNITS, least: LEAST_UNITS, inFlight: 2 },
      most: PROMPT_CAPACITY * layers,
    });
  }

  /**
   * @param exitLayers those that maps may be fitted for, ascending
   * @throws GpuMemoryError | GpuError
   */
  static async create(
    device: Device,
    forward: Forward,
    table: RowTable,
    exitLayers: readonly number[],
  ): Promise<PairSumsCollector> {
    const { hiddenSize } = forward.spec;
    const bytes = exitLayers.length * (2 * hiddenSize + PROMPT_CAPACITY) * (hiddenSize + 4) * 4;
    const make = () => new PairSumsCollector(device, forward, table, exitLayers);
    const collector = await device.allocating("sums of a calibration", bytes, make);
    const kernels = Object.values(collector.#kernels);
    try {
      await Promise.all([forward.preparePrompts([1]), ...kernels.map((kernel) => kernel.prepare())]);
    } catch (error) {
      collector.dispose();
      throw error;
    }
    return collector;
  }

  /**
   * Adds a text to the sums.
   * @param ids at most `contextLength`
   * @param told called with how many of them are through; what it throws ends the work
   */
  async add(ids: readonly number[], told: (done: number) => Promise<void>): Promise<void> {
    const { layers } = this.#forward.spec;
    for (let start = 0; start < ids.length; ) {
      const rows = Math.min(PROMPT_CAPACITY, this.#queue.units - (this.#queue.units % LEAST_UNITS));
      const { chunk } = this.#table.writeChunk(ids.slice(start, start + rows), start);
      for (let layer = 0; layer < layers; ) {
        const toLayer = Math.min(layers, layer + Math.max(1, Math.floor(this.#queue.units / chunk.count)));
        const recorder = new Recorder(this.#device.handle, "calibration");
        this.#through(recorder, chunk, layer, toLayer);
        await this.#queue.submit(recorder, chunk.count * (toLayer - layer));
        layer = toLayer;
      }
      start += chunk.count;
      await told(start);
    }
  }

  /** Records rows through layers, and what is taken of them on the way. */
  #through(recorder: Recorder, chunk: PassRows, fromLayer: number, toLayer: number): void {
    const { norm, gram } = this.#kernels;
    let from = fromLayer;
    for (const { layer, norm: group } of this.#exits) {
      if (layer <= fromLayer || layer > toLayer) continue;
      this.#forward.forward(recorder, chunk, from, layer);
      norm.dispatch(recorder, group, chunk);
      from = layer;
    }
    this.#forward.forward(recorder, chunk, from, toLayer);
    if (toLayer < this.#forward.spec.layers) return;
    norm.dispatch(recorder, this.#lastNorm, chunk);
    for (const exit of this.#exits) {
      gram.dispatch(recorder, exit.gram, chunk, this.#sizes.gram);
      gram.dispatch(recorder, exit.cross, chunk, this.#sizes.cross);
    }
  }

  /** The sums of each exit layer. */
  async read(): Promise<{ exitLayer: number; sums: PairSums }[]> {
    const { hiddenSize: size } = this.#forward.spec;
    const read = async (buffer: GPUBuffer) => new Float32Array(await this.#device.contents(buffer));
    const all: { exitLayer: number; sums: PairSums }[] = [];
    for (const { layer, products, targets } of this.#exits) {
      all.push({ exitLayer: layer, sums: { size, products: await read(products), targets: await read(targets) } });
    }
    return all;
  }

  dispose(): void {
    this.#device.ledger.releaseOwner(OWNER);
  }
}
