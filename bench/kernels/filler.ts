/** Fills buffers from one block of random words: small numbers in any format, and never infinite or not a number. */

import type { Device } from "../../src/gpu/device.ts";

const BLOCK_WORDS = 2 ** 18;

export class Filler {
  readonly #device: Device;
  readonly #words: Uint32Array<ArrayBuffer>;
  readonly #floats: Float32Array<ArrayBuffer>;

  constructor(device: Device) {
    this.#device = device;
    let state = 1;
    const next = () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state;
    };
    // As f16, the exponents 8 to 15 and any sign and fraction; as codes, any.
    this.#words = Uint32Array.from({ length: BLOCK_WORDS }, () => (next() & 0x9fff9fff) | 0x20002000);
    this.#floats = Float32Array.from({ length: BLOCK_WORDS }, () => next() / 2 ** 36 - 2 ** -5);
  }

  /** For f16 and block codes. */
  words(buffer: GPUBuffer): void {
    this.#fill(buffer, this.#words);
  }

  /** Numbers in [-1 / 32, 1 / 32). */
  floats(buffer: GPUBuffer): void {
    this.#fill(buffer, this.#floats);
  }

  #fill(buffer: GPUBuffer, block: Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>): void {
    for (let at = 0; at < buffer.size; at += block.byteLength) {
      const length = Math.min(block.byteLength, buffer.size - at) / 4;
      this.#device.handle.queue.writeBuffer(buffer, at, block, 0, length);
    }
  }
}
