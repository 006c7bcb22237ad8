/** Small constant buffers of a model. Equal uniforms are shared: the layers of a model have the same shapes. */

import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";

export class Constants {
  readonly #device: Device;
  readonly #owner: string;
  readonly #uniforms = new Map<string, GPUBuffer>();

  /** @param owner whom they are booked under */
  constructor(device: Device, owner = "shapes") {
    this.#device = device;
    this.#owner = owner;
  }

  uniform(words: Uint32Array<ArrayBuffer>): GPUBuffer {
    const key = words.join(",");
    const buffer = this.#uniforms.get(key) ?? this.#filled(`uniform ${key}`, words, BufferUsage.UNIFORM);
    this.#uniforms.set(key, buffer);
    return buffer;
  }

  storage(name: string, numbers: Float32Array<ArrayBuffer>): GPUBuffer {
    return this.#filled(name, numbers, BufferUsage.STORAGE);
  }

  #filled(name: string, data: Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>, usage: number): GPUBuffer {
    const buffer = this.#device.ledger.allocate(this.#owner, name, data.byteLength, usage | BufferUsage.COPY_DST);
    this.#device.handle.queue.writeBuffer(buffer, 0, data);
    return buffer;
  }
}
