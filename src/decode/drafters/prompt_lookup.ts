/**
 * Prompt lookup (Saxena 2023): the text itself drafts, by what followed its last tokens where they stood before. It needs no
 * weights and no pass, and is best where the answer repeats the prompt: summaries, edits, code.
 */

import type { Recorder } from "../../gpu/commands.ts";
import { Lookup } from "../../kernels/drafting.ts";
import type { DraftingKit, GpuDrafter } from "./drafter.ts";

export class PromptLookupDrafter implements GpuDrafter {
  readonly #kit: DraftingKit;
  readonly #kernel: Lookup;
  readonly #group: GPUBindGroup;

  constructor(kit: DraftingKit) {
    const { settings, buffer: state, history, proposal } = kit.state;
    this.#kit = kit;
    this.#kernel = new Lookup(kit.device);
    this.#group = this.#kernel.bind({ settings, state, history, proposal });
  }

  async prepare(): Promise<void> {
    await this.#kernel.prepare();
  }

  draft(recorder: Recorder): void {
    this.#kernel.dispatch(recorder, this.#group);
    this.#kit.state.graft(recorder);
  }
}
