/**
 * The bench for kernels: one device a test file, inputs uploaded, outputs poisoned first, everything released after each
 * test. At the end of the file the books must be empty and the device without a complaint.
 */

import { afterAll, afterEach, beforeAll, expect } from "vitest";
import { Recorder } from "../../src/gpu/commands.ts";
import { Device } from "../../src/gpu/device.ts";
import { LANE_BYTES, NONE, RANGE_BYTES, ROW_BYTES, ROW_CAPACITY } from "../../src/kernels/constants.ts";
import type { RowSet } from "../../src/kernels/kernel.ts";
import { defaultGpu } from "../../src/platform/node.ts";
import { SLOW } from "../slow.ts";

export type Words = Uint32Array<ArrayBuffer>;
export type Data = Words | Float32Array<ArrayBuffer>;

/** A NaN: what an output holds before a kernel writes it. As an integer it is no id, row or slot of any test. */
export const POISON = 0x7fc00000;

/** Unit roundoff of f32: a rounded operation is off by at most this fraction of its result. */
export const U = 2 ** -24;

/** Rows of the tables of these tests: what kernels do to a row does not depend on them, and what is computed on the host does. */
export const TABLE_ROWS = SLOW ? ROW_CAPACITY : 32;

/** A row of the table. `slot` is the position and `parent` none where they are not given. */
export interface TableRow {
  token?: number;
  position?: number;
  slot?: number;
  parent?: number;
  lane?: number;
  linear?: number;
  child?: number;
}

/** An entry of the range table. */
export interface Range {
  first: number;
  count: number;
}

const OWNER = "test";

export class Bench {
  #device: Device | undefined;

  get device(): Device {
    if (!this.#device) throw new Error("the bench opens its device before the first test of the file");
    return this.#device;
  }

  async open(): Promise<void> {
    this.#device = await Device.open(await defaultGpu());
  }

  /** A buffer that holds `data`. */
  upload(name: string, data: Data, usage = GPUBufferUsage.STORAGE): GPUBuffer {
    const { COPY_DST, COPY_SRC } = GPUBufferUsage;
    const buffer = this.device.ledger.allocate(OWNER, name, data.byteLength, usage | COPY_DST | COPY_SRC);
    this.device.handle.queue.writeBuffer(buffer, 0, data);
    return buffer;
  }

  /** A small buffer of a kernel's sizes. */
  uniform(name: string, data: Data): GPUBuffer {
    return this.upload(name, data, GPUBufferUsage.UNIFORM);
  }

  /** A buffer of `words` 32-bit words of poison. */
  output(name: string, words: number): GPUBuffer {
    return this.upload(name, poisoned(words));
  }

  /** A range table. */
  ranges(...ranges: Range[]): GPUBuffer {
    const words = new Uint32Array((ranges.length * RANGE_BYTES) / 4);
    for (const [i, { first, count }] of ranges.entries()) words.set([first, count], (i * RANGE_BYTES) / 4);
    return this.upload("ranges", words, GPUBufferUsage.UNIFORM | GPUBufferUsage.STORAGE);
  }

  /** A row table. */
  rows(rows: readonly TableRow[]): GPUBuffer {
    const words = new Uint32Array((rows.length * ROW_BYTES) / 4);
    for (const [i, row] of rows.entries()) {
      const { token = NONE, position = 0, slot = position, parent = NONE, lane = 0, linear = 0, child = i + 1 } = row;
      words.set([token, position, slot, parent, lane, linear, child], (i * ROW_BYTES) / 4);
    }
    return this.upload("rows", words);
  }

  /** Submits what `record` records, then reads the buffers of `outputs` whole. */
  async run<const T extends readonly GPUBuffer[]>(
    record: (recorder: Recorder) => void,
    ...outputs: T
  ): Promise<{ [I in keyof T]: Words }> {
    const { MAP_READ, COPY_DST } = GPUBufferUsage;
    const recorder = new Recorder(this.device.handle, "test");
    record(recorder);
    const reads = outputs.map((buffer) => {
      const read = this.device.ledger.allocate(OWNER, `read ${buffer.label}`, buffer.size, MAP_READ | COPY_DST);
      recorder.copy(buffer, 0, read, 0, buffer.size);
      return read;
    });
    this.device.submit(recorder);
    const results = await Promise.all(reads.map((read) => this.device.read(read, read.size)));
    for (const read of reads) this.device.ledger.release(read);
    return results.map((bytes) => new Uint32Array(bytes)) as { [I in keyof T]: Words };
  }

  /** Releases everything the test allocated. For tests that go through many cases. */
  release(): void {
    this.device.ledger.releaseOwner(OWNER);
  }

  close(): void {
    this.device.check();
    expect(this.device.ledger.report(), "the ledger after the last test").toEqual({
      buffers: 0,
      bytes: 0,
      byOwner: {},
    });
    this.device.dispose();
  }
}

/** Opens a bench for the tests of this file and sees that they leave it clean. */
export function openBench(): Bench {
  const bench = new Bench();
  beforeAll(() => bench.open());
  afterEach(() => bench.release());
  afterAll(() => bench.close());
  return bench;
}

/** What the first lane of a buffer of lanes holds. */
export function laneOf(words: Uint32Array): Uint32Array<ArrayBuffer> {
  const lane = new Uint32Array(LANE_BYTES / 4);
  lane.set(words);
  return lane;
}

/** `count` words of poison. */
export function poisoned(count: number): Words {
  return new Uint32Array(count).fill(POISON);
}

/** The same bits as f32. */
export function floats(words: Words): Float32Array<ArrayBuffer> {
  return new Float32Array(words.buffer, words.byteOffset, words.length);
}

/** The same bits as words. */
export function bits(data: Float32Array<ArrayBuffer>): Words {
  return new Uint32Array(data.buffer, data.byteOffset, data.length);
}

/** What a host knows of an exactly known range. */
export function rowSet(range: number, count: number, end = 0): RowSet {
  return { range, count, end };
}

/** A matrix `[N][K]` in the layout of the kernels, `[K / 4][N]` vec4. */
export function interleaved(w: Float32Array, N: number, K: number): Float32Array<ArrayBuffer> {
  const out = new Float32Array(N * K);
  for (let n = 0; n < N; n++) {
    for (let k = 0; k < K; k++) out[((k >> 2) * N + n) * 4 + (k & 3)] = w[n * K + k]!;
  }
  return out;
}

/** Index of the first word that differs, or -1. */
export function firstDifference(a: Words, b: Words): number {
  if (a.length !== b.length) throw new RangeError(`${a.length} words compared with ${b.length}`);
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return i;
  return -1;
}

/** Fails unless the words are equal, bit for bit; says where they are not. (`toEqual` is slow on long arrays.) */
export function expectSameBits(actual: Words, expected: Words, what: string): void {
  const index = firstDifference(actual, expected);
  if (index >= 0) expect.fail(`${what}: word ${index} is ${show(actual[index]!)}, expected ${show(expected[index]!)}`);
}

/** Fails unless all of a row table's rows outside [first, first + count) are still poison. `width`: words a row. */
export function expectUntouchedOutside(output: Words, width: number, { first, count }: Range, what: string): void {
  for (let i = 0; i < output.length; i++) {
    const row = Math.floor(i / width);
    if ((row < first || row >= first + count) && output[i] !== POISON) {
      expect.fail(`${what}: row ${row}, outside the range ${first}..${first + count - 1}, holds ${show(output[i]!)}`);
    }
  }
}

/** Fails unless every number is within its own bound of the one expected. A NaN never is. */
export function expectWithin(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: (index: number) => number,
  what: string,
): void {
  if (actual.length !== expected.length) throw new RangeError(`${actual.length} numbers, expected ${expected.length}`);
  for (let i = 0; i < actual.length; i++) {
    if (!(Math.abs(actual[i]! - expected[i]!) <= bound(i))) {
      expect.fail(`${what}: number ${i} is ${actual[i]}, expected ${expected[i]} within ${bound(i)}`);
    }
  }
}

function show(word: number): string {
  const [value] = floats(Uint32Array.of(word));
  return `0x${word.toString(16).padStart(8, "0")} (${value})`;
}

/** Arrays of words one after the other, each at a multiple of `stride` words. */
export function packed(arrays: readonly ArrayLike<number>[], stride: number): Words {
  const words = poisoned(arrays.length * stride);
  for (const [i, array] of arrays.entries()) words.set(array, i * stride);
  return words;
}
