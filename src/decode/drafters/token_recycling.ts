/**
 * Token Recycling (Luo et al. 2024): drafts are a tree of what the model itself held likely after each token, lately. It needs
 * no training, no weights and no pass, and learns from refused drafts too.
 */

import type { Recorder } from "../../gpu/commands.ts";
import { BufferUsage } from "../../gpu/usage.ts";
import { encodeTemplate, Recycle, TEMPLATE_BYTES } from "../../kernels/drafting.ts";
import type { DraftingKit, DraftRound, GpuDrafter } from "./drafter.ts";
import type { Followers } from "./followers.ts";
import { treeTemplate } from "./tree_template.ts";

export class TokenRecyclingDrafter implements GpuDrafter {
  readonly #kit: DraftingKit;
  readonly #followers: Followers;
  readonly #kernel: Recycle;
  /** By the size of the tree. */
  readonly #groups = new Map<number, GPUBindGroup>();

  constructor(kit: DraftingKit, followers: Followers) {
    this.#kit = kit;
    this.#followers = followers;
    this.#kernel = new Recycle(kit.device);
  }

  async prepare(): Promise<void> {
    await this.#kernel.prepare();
  }

  /** The tree grows on the round's last row, which is the pending token where no layers have drafted. */
  draft(recorder: Recorder, { plan: { treeSize = 0 }, lane }: DraftRound): void {
    const group = this.#groups.get(treeSize) ?? this.#bind(treeSize);
    this.#groups.set(treeSize, group);
    this.#kernel.dispatch(recorder, group);
    this.#kit.state.graft(recorder, lane);
  }

  #bind(treeSize: number): GPUBindGroup {
    const { device, table, state } = this.#kit;
    const { UNIFORM, COPY_DST } = BufferUsage;
    const shape = device.ledger.allocate("round", `template of ${treeSize}`, TEMPLATE_BYTES, UNIFORM | COPY_DST);
    device.handle.queue.writeBuffer(shape, 0, encodeTemplate(treeTemplate(treeSize)));
    const { rows, ranges } = table;
    return this.#kernel.bind({ shape, followers: this.#followers.buffer, rows, ranges, proposal: state.proposal });
  }
}
