/**
 * Prompt lookup (Saxena 2023): the text itself drafts, by what followed its last tokens where they stood before. It needs no
 * weights and no pass, and is best where the answer repeats the prompt: summaries, edits, code.
 */

import type { Recorder } from "../../gpu/commands.ts";
import { Lookup } from "../../kernels/drafting.ts";
import type { DraftingKit, DraftRound, GpuDrafter } from "./drafter.ts";

export class PromptLookupDrafter implements GpuDrafter {
  readonly #kit: DraftingKit;
  readonly #kernel: Lookup;
  readonly #group: (lane: number) => GPUBindGroup;

  constructor(kit: DraftingKit) {
    const { proposal } = kit.state;
    this.#kit = kit;
    const kernel = new Lookup(kit.device);
    this.#kernel = kernel;
    this.#group = kit.state.perLane(({ settings, state, history }) =>
      kernel.bind({ settings, state, history, proposal }),
    );
  }

  async prepare(): Promise<void> {
    await this.#kernel.prepare();
  }

  draft(recorder: Recorder, { lane }: DraftRound): void {
    this.#kernel.dispatch(recorder, this.#group(lane));
    this.#kit.state.graft(recorder, lane);
  }
}
