/** What moves the keys and values of an accepted path of a tree into place, in all layers. */

import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { Commit } from "../kernels/drafting.ts";
import type { Forward } from "./forward.ts";

export class PathCommit {
  readonly #kernel: Commit;
  readonly #forward: Forward;
  readonly #buffers: { shape: GPUBuffer; path: GPUBuffer };
  readonly #groups = new WeakMap<GPUBuffer, GPUBindGroup>();
  /** Of 16 bytes, in a slot of keys. */
  readonly #vectors: number;

  /** @param path `Path` of shaders/layer_skip/state.wgsl, as the accept kernel leaves it */
  constructor(device: Device, forward: Forward, path: GPUBuffer) {
    this.#kernel = new Commit(device);
    this.#forward = forward;
    this.#vectors = forward.kv.slotBytes / 16;
    const { UNIFORM, COPY_DST } = BufferUsage;
    const shape = device.ledger.allocate("round", "slot shape", 16, UNIFORM | COPY_DST);
    device.handle.queue.writeBuffer(shape, 0, new Uint32Array([this.#vectors]));
    this.#buffers = { shape, path };
  }

  async prepare(): Promise<void> {
    await this.#kernel.prepare();
  }

  /** Records the moves: a dispatch a layer, of threads that return at once where all is in place. */
  commit(recorder: Recorder): void {
    for (const cache of this.#forward.caches) {
      const group = this.#groups.get(cache.keys) ?? this.#kernel.bind({ ...this.#buffers, ...cache });
      this.#groups.set(cache.keys, group);
      this.#kernel.dispatch(recorder, group, this.#vectors);
    }
  }
}
