/**
 * The round: draft, verify, accept, as in LayerSkip (Elhoushi et al. 2024, section 4), in one submission.
 *
 * Everything a round decides (how many tokens to draft, what they are, how many are accepted) is decided and kept on the
 * GPU. The host records the same commands whatever happens there and reads one small report, when it likes: the next round
 * can be submitted before.
 */

import type { Forward } from "../forward/forward.ts";
import type { Regime } from "../forward/layer_kernels.ts";
import type { PassRows, RowTable } from "../forward/row_table.ts";
import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { Pace } from "../gpu/pace.ts";
import { PacedQueue } from "../gpu/paced_queue.ts";
import { ReadbackRing } from "../gpu/readback_ring.ts";
import { PROMPT_CAPACITY, RANGE_VERIFY, RANGE_VERIFY_EARLY, ROW_CAPACITY } from "../kernels/constants.ts";
import type { RoundSettings } from "../kernels/layer_skip.ts";
import type { GpuDrafter } from "./drafters/drafter.ts";
import type { Followers } from "./drafters/followers.ts";
import type { DraftTree } from "./drafters/host_drafter.ts";
import { Drafters } from "./drafters/registry.ts";
import type { PendingRound } from "./pending_round.ts";
import { drafterOf, draftsOf, plainPlan, type RoundPlan } from "./plan.ts";
import { type ReportLayout, readReport, reportParts } from "./round_report.ts";
import { RoundState } from "./round_state.ts";
import type { Selection, TargetSelection } from "./selection/selection.ts";
import { type SelectionRequest, Selections } from "./selection/selections.ts";

/** What bounds a generation. */
export type Limits = Pick<RoundSettings, "maxTokens" | "contextLength" | "eosTokenIds">;

/** What of a prompt is in the KV cache, and how the rest is computed. */
export interface PromptPlace {
  /** Tokens from the front whose keys and values are there: less than the prompt. */
  readonly reused: number;
  /** Whether a token was generated: it is computed again as it was then. */
  isGenerated(position: number): boolean;
  /** Tokens from the front that a second model has keys and values of. */
  seenBy(model: Forward): number;
  /** Gives the positions below `end` their slots. */
  reserve(end: number): void;
}

/** A prompt that shares nothing with others, where positions have slots already. */
const UNSHARED: PromptPlace = { reused: 0, isGenerated: () => false, seenBy: () => 0, reserve: () => {} };

/** Rows through a layer that a first submission of a prompt holds, and the fewest of any: a tile of the matmul. */
const FIRST_PREFILL_UNITS = 32;
const LEAST_PREFILL_UNITS = 32;

export class Scheduler {
  /** The state of the generation that runs. */
  readonly state: RoundState;
  readonly #device: Device;
  readonly #forward: Forward;
  readonly #table: RowTable;
  readonly #drafters: Drafters;
  readonly #selections: Selections;
  readonly #readbacks: ReadbackRing;
  /** The prompt's way to the GPU; its unit is one row through one layer. */
  readonly #prefillQueue: PacedQueue;
  /** A layer of a second model costs something else, and so do rows that are computed as generated ones. */
  readonly #draftPace: Pace;
  readonly #replayPace: Pace;
  #place = UNSHARED;
  #limits: Limits = { maxTokens: 0, contextLength: 0, eosTokenIds: [] };
  #selection: Selection | undefined;
  /** The drafters of the generation that runs. */
  #active: readonly GpuDrafter[] = [];
  /** Compute dispatches recorded so far. */
  dispatches = 0;

  constructor(device: Device, forward: Forward, table: RowTable) {
    this.#device = device;
    this.#forward = forward;
    this.#table = table;
    this.state = new RoundState(device, forward, table);
    this.#drafters = new Drafters({ device, forward, table, state: this.state });
    this.#selections = new Selections(device, forward, table, this.state);
    this.#readbacks = new ReadbackRing(device, "round");
    this.#prefillQueue = new PacedQueue(device, {
      first: FIRST_PREFILL_UNITS,
      least: LEAST_PREFILL_UNITS,
      most: PROMPT_CAPACITY * forward.spec.layers,
      inFlight: 2, // the GPU never idles, and a stop takes effect within two submissions
    });
    this.#draftPace = this.#prefillQueue.newPace();
    this.#replayPace = this.#prefillQueue.newPace();
  }

  /** Ids there are. */
  get vocabSize(): number {
    return this.#forward.spec.vocabSize;
  }

  /** Whether a verification of several rows reads the weights once; known once rounds have been prepared. */
  get takesRowsTogether(): boolean {
    return this.#forward.takesRowsTogether;
  }

  /** Numbers of rows that this device computes at a time, ascending. */
  get rowBuckets(): readonly number[] {
    return this.#forward.rowBuckets;
  }

  /**
   * Compiles what prompts of any length and rounds of these plans need.
   * @param request how ids are selected; undefined: greedily
   * @param replays whether the prompt has tokens that were generated
   * @returns how to begin: to be called when the generation does
   */
  async prepare(plans: readonly RoundPlan[], request?: SelectionRequest, replays = false): Promise<() => Selection> {
    const rowCounts = [...new Set([1, ...plans.flatMap((plan) => [1 + draftsOf(plan), 1 + (plan.treeSize ?? 0)])])];
    const trees = plans.some(({ treeSize = 0 }) => treeSize > 0);
    if (request?.draftModel) this.#drafters.use(request.draftModel);
    const kinds = new Set(plans.map(drafterOf));
    const drafters = [...new Set(plans.flatMap((plan) => this.#drafters.of(plan) ?? []))];
    const learner = this.#drafters.learnerOf(plans);
    const [begin] = await Promise.all([
      this.#selections.prepare(rowCounts, request, kinds.has("adapter")),
      this.state.prepare(trees),
      replays && this.#forward.prepare([ROW_CAPACITY]),
      learner?.prepare(rowCounts),
      ...plans.map((plan) => this.#drafters.of(plan)?.prepare(plan)),
    ]);
    return () => {
      this.#active = drafters;
      return learner ? learner.watch(begin()) : begin();
    };
  }

  /** What followed each token lately, as it is kept from text to text. */
  get followers(): Followers {
    return this.#drafters.followers;
  }

  /** Begins a generation that `prepare` was called for. */
  begin(
    limits: Limits,
    selection: Selection,
    ...committed: [length?: number, pending?: number, emitted?: number]
  ): void {
    this.#limits = limits;
    this.#selection = selection;
    this.#place = UNSHARED;
    this.state.begin({ draftLength: 0, ...limits }, ...committed);
  }

  /**
   * Runs the prompt through all layers, in chunks; the last one emits the first token.
   *
   * A submission holds as many rows and layers as this device computes in a moment. No result depends on how the prompt is
   * cut.
   * @param stop asked before each submission
   * @param place what of it is in the KV cache
   * @returns the last submission, not waited for; undefined when it was stopped
   */
  async prefill(
    ids: readonly number[],
    stop: () => boolean,
    place: PromptPlace = UNSHARED,
  ): Promise<PendingRound | undefined> {
    const { layers } = this.#forward.spec;
    this.#place = place;
    this.state.tellPrompt(ids);
    for (const drafter of this.#active) {
      drafter.begin?.(ids.length);
      if (drafter.forward && !(await this.#prefillThrough(drafter.forward, ids, stop))) return undefined;
    }
    for (let start = place.reused; start < ids.length; ) {
      const regime: Regime = place.isGenerated(start) ? "generated" : "prompt";
      const pace = regime === "prompt" ? this.#prefillQueue.pace : this.#replayPace;
      const { chunk, last } = this.#nextChunk(ids.slice(0, this.#endOfRun(start, ids.length)), start, regime, pace);
      start += chunk.count;
      for (let layer = 0; layer < layers; ) {
        if (stop()) return undefined;
        const toLayer = nextLayer(layer, layers, chunk, pace);
        const recorder = new Recorder(this.#device.handle, "prefill");
        this.#forward.forward(recorder, chunk, layer, toLayer);
        if (start === ids.length && toLayer === layers) {
          this.#forward.liftLast(recorder, chunk.count - 1);
          this.#chosen.target.target(recorder, last);
          this.#accept(recorder, last, false, this.#chosen.target);
          return this.#submit(recorder, plainPlan(layers));
        }
        await this.#prefillQueue.submit(recorder, chunk.count * (toLayer - layer), pace);
        this.dispatches += recorder.dispatches;
        layer = toLayer;
      }
    }
    return undefined; // a prompt has tokens
  }

  /** Runs what a drafter's own model has not seen of a prompt through it. @returns false when it was stopped */
  async #prefillThrough(model: Forward, ids: readonly number[], stop: () => boolean): Promise<boolean> {
    const { layers } = model.spec;
    for (let start = this.#place.seenBy(model); start < ids.length; ) {
      const { chunk } = this.#nextChunk(ids, start, "prompt", this.#draftPace);
      start += chunk.count;
      for (let layer = 0; layer < layers; ) {
        if (stop()) return false;
        const toLayer = nextLayer(layer, layers, chunk, this.#draftPace);
        const recorder = new Recorder(this.#device.handle, "prefill of a draft model");
        model.forward(recorder, chunk, layer, toLayer);
        await this.#prefillQueue.submit(recorder, chunk.count * (toLayer - layer), this.#draftPace);
        this.dispatches += recorder.dispatches;
        layer = toLayer;
      }
    }
    return true;
  }

  /** The prompt's next tokens, as many as one submission takes through a layer. */
  #nextChunk(ids: readonly number[], start: number, regime: Regime, { units }: Pace) {
    const rows = Math.min(regime === "prompt" ? PROMPT_CAPACITY : ROW_CAPACITY, units - (units % LEAST_PREFILL_UNITS));
    const end = Math.min(ids.length, start + rows);
    this.#place.reserve(end);
    return this.#table.writeChunk(ids.slice(start, end), start, regime);
  }

  /** Tokens from `start` on that are computed as it is. */
  #endOfRun(start: number, end: number): number {
    const generated = this.#place.isGenerated(start);
    let next = start + 1;
    while (next < end && this.#place.isGenerated(next) === generated) next++;
    return next;
  }

  /**
   * Submits one round, without waiting for it or for those before it.
   * @param length committed tokens before it, at most
   * @param proposal of a drafter on the host
   */
  round(plan: RoundPlan, length: number, proposal?: DraftTree): PendingRound {
    const { draftLength, treeSize, leastProbability } = plan;
    this.#place.reserve(Math.min(length + 1 + draftsOf(plan), this.#limits.contextLength));
    this.state.configure({
      ...this.#limits,
      draftLength,
      ...(treeSize && { treeSize }),
      ...(leastProbability && { leastProbability }),
    });
    if (plan.drafter === "own") this.#drafters.own.write(proposal as DraftTree);
    const recorder = new Recorder(this.#device.handle, "round");
    this.record(recorder, plan, length);
    return this.#submit(recorder, plan);
  }

  /** Records one round: the same commands whatever it decides on the GPU. */
  record(recorder: Recorder, plan: RoundPlan, length: number): void {
    const { exitLayer, treeSize = 0, shadowExits = [] } = plan;
    const model = this.#forward;
    const { draft, exitDraft } = this.#chosen;
    const target = this.#targetOf(plan);
    const end = length + 1 + draftsOf(plan);
    const newRows: PassRows = { range: RANGE_VERIFY_EARLY, count: 1 + treeSize, end, regime: "generated" };
    const allRows: PassRows = { range: RANGE_VERIFY, count: 1 + draftsOf(plan), end, regime: "generated" };

    // Draft: a tree of rows behind the pending token.
    const drafter = this.#drafters.of(plan);
    for (const each of this.#active) each.catchUp?.(recorder, length, each === drafter);
    this.state.plan(recorder);
    drafter?.draft(recorder, { plan, length, selection: plan.drafter === "adapter" ? exitDraft! : draft });
    for (const other of this.#active) if (other !== drafter) other.missed?.(1 + draftsOf(plan));

    // Verify: the rows that have not been through the early layers (the last that layers drafted, and those of a tree on top
    // of it) catch up; then all go on from their exit hidden states through the remaining layers, once. The early layers'
    // keys and values are those of the drafts.
    model.forward(recorder, newRows, 0, exitLayer);
    let from = exitLayer;
    for (const [i, exit] of shadowExits.entries()) {
      model.forward(recorder, allRows, from, exit);
      target.shadow(recorder, allRows, i);
      from = exit;
    }
    model.forward(recorder, allRows, from, model.spec.layers);
    target.target(recorder, allRows);

    // Accept the longest path that the full model agrees with and one token of its own more. What was refused is rolled back
    // by the new length.
    this.#accept(recorder, allRows, treeSize > 0, target);
    drafter?.accepted?.(recorder);
  }

  #targetOf(plan: RoundPlan): TargetSelection {
    const { target, unwatched } = this.#chosen;
    return this.#drafters.learnerOf([plan]) ? target : (unwatched ?? target);
  }

  #accept(recorder: Recorder, rows: PassRows, tree: boolean, target: TargetSelection): void {
    this.state.accept(recorder, rows, tree);
    target.accepted?.(recorder, rows);
  }

  /** Submits a recording that has accepted, with the way back of its report. */
  #submit(recorder: Recorder, plan: RoundPlan): PendingRound {
    const shadows = plan.shadowExits?.length ?? 0;
    const rows = 1 + draftsOf(plan);
    const layout: ReportLayout = { rows, chain: plan.draftLength, selection: this.#chosen, shadows };
    const readback = this.#readbacks.record(recorder, reportParts(this.state, layout));
    const submittedAt = performance.now();
    try {
      this.#device.submit(recorder);
    } catch (error) {
      readback.cancel();
      throw error;
    }
    this.dispatches += recorder.dispatches;
    const report = readback.read().then((parts) => ({ ...readReport(parts, layout), doneAt: performance.now() }));
    report.catch(() => {}); // told to whoever waits for it, which may be nobody
    return { plan, submittedAt, readbackBytes: readback.bytes, report };
  }

  get #chosen(): Selection {
    if (!this.#selection) throw new Error("a round was recorded before a generation began");
    return this.#selection;
  }
}

/** How far a chunk goes in one submission. */
function nextLayer(layer: number, layers: number, { count }: PassRows, { units }: Pace): number {
  return Math.min(layers, layer + Math.max(1, Math.floor(units / count)));
}
