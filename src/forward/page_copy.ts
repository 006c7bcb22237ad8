/**
 * Copies the beginning of a page of the KV cache into another, in all layers: two texts that part within a page have one each.
 *
 * It is the kernel that moves an accepted path into place (shaders/drafting/commit.wgsl): a page is as long as a path may be.
 */

import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { PAGE_SLOTS } from "../kernels/constants.ts";
import { encodePath, PATH_BYTES } from "../kernels/layer_skip.ts";
import type { Forward } from "./forward.ts";
import { PathCommit } from "./path_commit.ts";

export class PageCopy {
  readonly #device: Device;
  readonly #moves: GPUBuffer;
  readonly #commit: PathCommit;

  constructor(device: Device, forward: Forward) {
    this.#device = device;
    this.#moves = device.ledger.allocate("round", "moves", PATH_BYTES, BufferUsage.STORAGE | BufferUsage.COPY_DST);
    this.#commit = new PathCommit(device, forward, this.#moves);
  }

  async prepare(): Promise<void> {
    await this.#commit.prepare();
  }

  /** Submits the copy of the first `slots` slots of page `from` to page `to`. */
  copy(from: number, to: number, slots: number): void {
    const ofPage = (page: number) => Array.from({ length: slots }, (_, i) => page * PAGE_SLOTS + i);
    this.#device.handle.queue.writeBuffer(this.#moves, 0, encodePath(ofPage(from), ofPage(to)));
    const recorder = new Recorder(this.#device.handle, "copy of a page");
    this.#commit.commit(recorder);
    this.#device.submit(recorder);
  }
}
