/** What moves the keys and values of an accepted path of a tree into place, in all layers. */

import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { Commit } from "../kernels/drafting.ts";
import type { KvCache } from "./kv_cache.ts";

export class PathCommit {
  readonly #kernel: Commit;
  readonly #groups: GPUBindGroup[];
  /** Of 16 bytes, in a slot of keys. */
  readonly #vectors: number;

  /** @param path `Path` of shaders/layer_skip/state.wgsl, as the accept kernel leaves it */
  constructor(device: Device, { keys, values, slotBytes }: KvCache, path: GPUBuffer) {
    this.#kernel = new Commit(device);
    this.#vectors = slotBytes / 16;
    const { UNIFORM, COPY_DST } = BufferUsage;
    const shape = device.ledger.allocate("round", "slot shape", 16, UNIFORM | COPY_DST);
    device.handle.queue.writeBuffer(shape, 0, new Uint32Array([this.#vectors]));
    this.#groups = keys.map((layer, i) => this.#kernel.bind({ shape, path, keys: layer, values: values[i]! }));
  }

  async prepare(): Promise<void> {
    await this.#kernel.prepare();
  }

  /** Records the moves: a dispatch a layer, of threads that return at once where all is in place. */
  commit(recorder: Recorder): void {
    for (const group of this.#groups) this.#kernel.dispatch(recorder, group, this.#vectors);
  }
}
