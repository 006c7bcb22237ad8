/**
 * The buffer ledger: every GPU buffer has an owner and a name, and the books can be shown to be empty.
 *
 * Buffers are destroyed by their owner, never left to the garbage collector: a model that was disposed holds nothing.
 */

import { DisposedError, GpuError } from "../errors.ts";
import { BufferUsage } from "./usage.ts";

interface Entry {
  owner: string;
  bytes: number;
}

export class BufferLedger {
  readonly #device: GPUDevice;
  readonly #entries = new Map<GPUBuffer, Entry>();
  #closed = false;
  /** Takes down what is allocated, while `collecting`. */
  #collected: GPUBuffer[] | undefined;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Bytes of a storage buffer, at most: what this device holds in one buffer and binds whole. */
  get bindableBytes(): number {
    const { maxBufferSize, maxStorageBufferBindingSize } = this.#device.limits;
    return Math.min(maxBufferSize, maxStorageBufferBindingSize);
  }

  /**
   * Allocates a buffer of at least `bytes` bytes (rounded up to 4), zeroed.
   * @param owner the room it is booked under, such as `weights` or `kv`
   * @param name what it holds; it is the buffer's label in the GPU's error messages
   * @throws GpuError when the device's limit does not admit the size; DisposedError when the books are closed
   */
  allocate(owner: string, name: string, bytes: number, usage: GPUBufferUsageFlags): GPUBuffer {
    if (this.#closed) throw new DisposedError();
    const size = Math.max(4, Math.ceil(bytes / 4) * 4);
    const limit = usage & BufferUsage.STORAGE ? this.bindableBytes : this.#device.limits.maxBufferSize;
    if (size > limit) {
      throw new GpuError(`${owner}/${name}`, `the buffer needs ${size} bytes and this device binds at most ${limit}`);
    }
    const buffer = this.#device.createBuffer({ label: `${owner}/${name}`, size, usage });
    this.#entries.set(buffer, { owner, bytes: size });
    this.#collected?.push(buffer);
    return buffer;
  }

  /** Calls `allocate`, which waits for nothing, and tells which buffers it allocated; `result` throws what it threw. */
  collecting<T>(allocate: () => T): { result: () => T; buffers: GPUBuffer[] } {
    const buffers: GPUBuffer[] = [];
    this.#collected = buffers;
    try {
      const value = allocate();
      return { result: () => value, buffers };
    } catch (error) {
      return {
        result: () => {
          throw error;
        },
        buffers,
      };
    } finally {
      this.#collected = undefined;
    }
  }

  /** @returns what destroys all that is allocated from now on */
  mark(): () => void {
    const before = new Set(this.#entries.keys());
    return () => {
      for (const buffer of this.#entries.keys()) if (!before.has(buffer)) this.release(buffer);
    };
  }

  /** Destroys one buffer and strikes it off. */
  release(buffer: GPUBuffer): void {
    if (this.#entries.delete(buffer)) buffer.destroy();
  }

  /** Destroys everything booked under `owner`. */
  releaseOwner(owner: string): void {
    for (const [buffer, entry] of this.#entries) {
      if (entry.owner === owner) this.release(buffer);
    }
  }

  /** Destroys everything and admits nothing more: what still runs cannot leave a buffer behind. */
  close(): void {
    this.#closed = true;
    this.releaseAll();
  }

  releaseAll(): void {
    for (const buffer of this.#entries.keys()) this.release(buffer);
  }

  /** What is allocated now: number of buffers, bytes, and bytes by owner. */
  report(): { buffers: number; bytes: number; byOwner: Record<string, number> } {
    const byOwner: Record<string, number> = {};
    let bytes = 0;
    for (const entry of this.#entries.values()) {
      byOwner[entry.owner] = (byOwner[entry.owner] ?? 0) + entry.bytes;
      bytes += entry.bytes;
    }
    return { buffers: this.#entries.size, bytes, byOwner };
  }
}
