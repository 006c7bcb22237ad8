/** Which selection a generation needs; what is not needed is neither compiled nor allocated. */

import { type Forward, HOT_HEAD, type HotHead } from "../../forward/forward.ts";
import type { Head } from "../../forward/head.ts";
import type { RowTable } from "../../forward/row_table.ts";
import type { Device } from "../../gpu/device.ts";
import { LANES, ROW_CAPACITY } from "../../kernels/constants.ts";
import { isPenalised, type SamplingSettings } from "../../kernels/sampling.ts";
import { checkSampling } from "../../kernels/sampling_check.ts";
import type { RoundState } from "../round_state.ts";
import { CandidateChoice } from "./candidates.ts";
import { GreedySelection } from "./greedy.ts";
import { type DraftHead, type SampledLane, type SampledRequest, SampledSelection } from "./sampled.ts";
import type { DraftSelection, Selection, TargetSelection } from "./selection.ts";

/** What a generation asks of selection. */
export interface SelectionRequest extends SampledRequest {
  /** Drafts choose among these alone, ascending; undefined: among all. */
  hotIds?: Uint32Array<ArrayBuffer> | undefined;
  /** A second model, whose head drafts choose with. */
  draftModel?: Forward | undefined;
  /** Rounds teach what follows each token, which their price has in it. */
  learns?: boolean;
}

/** Bytes of what sampling holds for each id of a vocabulary beside logits: scores of each row, bias and counts of each text. */
const SAMPLING_BYTES_PER_ID = (ROW_CAPACITY + 2 * LANES) * 4;

/** Whom what is made for the head of a second model is booked under. */
const DRAFT_MODEL = "draft model";

/** Whether the largest logit is chosen, as it is. */
export function isPlainGreedy(settings: Readonly<SamplingSettings>): boolean {
  return settings.temperature === 0 && settings.logitBias.size === 0 && !isPenalised(settings);
}

export class Selections {
  readonly #device: Device;
  readonly #forward: Forward;
  readonly #table: RowTable;
  readonly #state: RoundState;
  readonly #choice: CandidateChoice;
  readonly #greedy: GreedySelection;
  #sampled: SampledSelection | undefined;
  /** Greedy drafts by other heads; those of hot ids as in `SampledSelection`. */
  readonly #greedyByHead = new WeakMap<Head, { draft: DraftSelection; choice: CandidateChoice }>();

  constructor(device: Device, forward: Forward, table: RowTable, state: RoundState) {
    this.#device = device;
    this.#forward = forward;
    this.#table = table;
    this.#state = state;
    const { candidates, candidatesPerRow } = forward.head;
    this.#choice = new CandidateChoice(device, "round", table, candidates, candidatesPerRow, state);
    this.#greedy = new GreedySelection(forward.head, this.#choice);
  }

  /**
   * Compiles and allocates what a generation needs.
   * @param rowCounts numbers of rows that its passes have
   * @param request undefined: the largest logit
   * @param exitAdapter the exit adapter drafts too
   * @returns how to begin it in a lane
   */
  async prepare(
    rowCounts: readonly number[],
    request?: SelectionRequest,
    exitAdapter = false,
  ): Promise<(lane: number) => Selection> {
    const greedy = !request || isPlainGreedy(request.settings);
    const { probabilities = false, branches = false, topLogProbs } = request ?? {};
    const needsLogits = request && (!greedy || probabilities || branches || topLogProbs !== undefined);
    await Promise.all([this.#choice.prepare(), this.#forward.prepare(rowCounts)]);
    const hotIds = request?.hotIds;
    const { draftModel } = request ?? {};
    if (draftModel && needsLogits) await draftModel.prepareLogits([1], "generated");
    const hotHead = hotIds && (await this.#forward.prepareHotHead(hotIds.length));
    const hot: DraftHead | undefined = draftModel
      ? { owner: DRAFT_MODEL, head: draftModel.head }
      : hotHead && { owner: HOT_HEAD, ...hotHead };
    const exit = exitAdapter ? this.#exitHead(hotHead) : undefined;
    const greedyDraft = hot && greedy ? await this.#greedyBy(hot) : this.#greedy;
    const greedyExit = exit && greedy ? await this.#greedyBy(exit) : undefined;
    if (!needsLogits) {
      return () => {
        if (hotIds) hotHead?.columns.fill(hotIds);
        const drafts = { draft: greedyDraft, exitDraft: greedyExit };
        const joins = hot ? undefined : "greedy";
        return { ...drafts, target: this.#greedy, joins, largestLogit: true, leavesLogits: false };
      };
    }

    const logits = await this.#forward.prepareLogits(rowCounts, "generated");
    const bytes = this.#forward.spec.vocabSize * SAMPLING_BYTES_PER_ID;
    if (!this.#sampled) await checkSampling(this.#device);
    const sampled = this.#sampled ?? (await this.#device.allocating("sampling", bytes, () => this.#create(logits)));
    this.#sampled = sampled;
    await sampled.prepare(request, { hot, exit });
    const top = topLogProbs;
    const isOnlyScored = !greedy && !hot && !probabilities && !branches && top === undefined;
    const joins = isOnlyScored && request.acceptRule === "invariant" ? "sampled" : undefined;
    return (lane) => {
      if (hotIds) hotHead?.columns.fill(hotIds);
      const own = sampled.begin(lane, request, { hot, exit });
      const byLogits = !greedy || probabilities || branches;
      return {
        draft: byLogits ? own.draft : greedyDraft,
        exitDraft: byLogits ? own.exitDraft : greedyExit,
        target: greedy ? this.#greedyTarget(own, top !== undefined) : own.target,
        ...{ joins, largestLogit: greedy, leavesLogits: !greedy },
        ...(probabilities && { probabilities: sampled.probabilities }),
        ...(top !== undefined && { logProbs: { buffer: sampled.logProbs, top } }),
      };
    };
  }

  /** The text's own ids come from the same kernel whatever else is told of them or of drafts. */
  #greedyTarget(own: SampledLane, tellsLogProbs: boolean): TargetSelection {
    const greedy = this.#greedy;
    if (!tellsLogProbs) return greedy;
    return {
      target: (recorder, rows) => greedy.target(recorder, rows),
      shadow: (recorder, rows, index) => greedy.shadow(recorder, rows, index),
      accepted: (recorder, rows) => own.tellLogProbs(recorder, rows),
    };
  }

  /** The head of the exit adapter: over its own ids, else over the text's hot ones where there are such. */
  #exitHead(hot: HotHead | undefined): DraftHead {
    const { exitAdapter } = this.#forward;
    if (!exitAdapter) throw new Error("drafts of an exit adapter that there is not");
    if (hot?.exitHead) return { owner: HOT_HEAD, head: hot.exitHead, columns: hot.columns };
    return { owner: exitAdapter.owner, head: exitAdapter.head, columns: exitAdapter.columns };
  }

  async #greedyBy({ owner, head, columns }: DraftHead): Promise<DraftSelection> {
    let greedy = this.#greedyByHead.get(head);
    if (!greedy) {
      const { candidates, candidatesPerRow } = head;
      const [device, table, state] = [this.#device, this.#table, this.#state];
      const choice = new CandidateChoice(device, owner, table, candidates, candidatesPerRow, state, columns?.ids);
      greedy = { choice, draft: new GreedySelection(head, choice) };
      this.#greedyByHead.set(head, greedy);
    }
    await greedy.choice.prepare();
    return greedy.draft;
  }

  #create(logits: GPUBuffer): SampledSelection {
    return new SampledSelection(this.#device, this.#forward, this.#table, this.#state, logits);
  }
}
