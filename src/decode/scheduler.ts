/**
 * The round: draft, verify, accept, as in LayerSkip (Elhoushi et al. 2024, section 4), in one submission.
 *
 * Everything a round decides (how many tokens to draft, what they are, how many are accepted) is decided and kept on the
 * GPU. The host records the same commands whatever happens there and reads one small report, when it likes: the next round
 * can be submitted before.
 */

import type { GpuError } from "../errors.ts";
import type { Forward } from "../forward/forward.ts";
import type { Regime } from "../forward/layer_kernels.ts";
import type { PassRows, RowTable } from "../forward/row_table.ts";
import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { Pace } from "../gpu/pace.ts";
import { PacedQueue } from "../gpu/paced_queue.ts";
import { ReadbackRing } from "../gpu/readback_ring.ts";
import { LANES, PROMPT_CAPACITY, RANGE_VERIFY, RANGE_VERIFY_EARLY, ROW_CAPACITY } from "../kernels/constants.ts";
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
import { Turns } from "./turns.ts";

/** What bounds a generation. */
export type Limits = Pick<RoundSettings, "maxTokens" | "contextLength" | "eosTokenIds">;

/** Rows of a pass of several texts that read the weights once; more are so many slabs. */
const JOINT_ROWS = [2, 4, LANES];

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

/** What has been compiled for a generation: how it selects, and who drafts. */
export interface Opening {
  readonly selection: Selection;
  readonly drafters: readonly GpuDrafter[];
}

/** Where a generation begins. */
export interface Start {
  /** The lane of its text. Default: 0. */
  lane?: number;
  /** Tokens that are committed already, and the pending one after them. */
  length?: number;
  pending?: number;
  /** Tokens that count as emitted already. */
  emitted?: number;
}

/** What the rounds of a text go by. */
interface Lane extends Opening {
  readonly number: number;
  readonly limits: Limits;
  /** The token that it began with, behind those that were committed. */
  readonly pending: number | undefined;
  place: PromptPlace;
  /** What was wrong with the submissions of its prompt. */
  readonly errors: Promise<GpuError | undefined>[];
}

/** A round that a text asks for. */
export interface RoundRequest {
  readonly lane: number;
  readonly plan: RoundPlan;
  /** Committed tokens before it, at most. */
  readonly length: number;
  /** Of a drafter on the host. */
  readonly proposal?: DraftTree | undefined;
}

export class Scheduler {
  readonly #device: Device;
  readonly #forward: Forward;
  readonly #table: RowTable;
  readonly #state: RoundState;
  readonly #drafters: Drafters;
  readonly #selections: Selections;
  readonly #readbacks: ReadbackRing;
  /** The prompt's way to the GPU; its unit is one row through one layer. */
  readonly #prefillQueue: PacedQueue;
  /** A layer of a second model costs something else, and so do rows that are computed as generated ones. */
  readonly #draftPace: Pace;
  readonly #replayPace: Pace;
  /** The texts that are generated. */
  readonly #lanes: Lane[] = [];
  /** Row table and stream are a chunk's of a prompt from the first layer to the last, or a round's. */
  readonly #turns = new Turns();
  /** One generation is prepared after the other: what both need is made once. */
  readonly #preparing = new Turns();
  /** Compute dispatches recorded so far. */
  dispatches = 0;

  constructor(device: Device, forward: Forward, table: RowTable) {
    this.#device = device;
    this.#forward = forward;
    this.#table = table;
    this.#state = new RoundState(device, forward, table);
    this.#drafters = new Drafters({ device, forward, table, state: this.#state });
    this.#selections = new Selections(device, forward, table, this.#state);
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
   * @param also whether the prompt has tokens that were generated, and whether other texts are generated beside it: their rounds together
   * have more rows, which are compiled for
   * @returns how to begin: to be called when the generation does
   */
  async prepare(
    plans: readonly RoundPlan[],
    request?: SelectionRequest,
    { replays = false, joins = false }: { replays?: boolean; joins?: boolean } = {},
  ): Promise<(lane?: number) => Opening> {
    const done = await this.#preparing.take();
    try {
      const own = plans.flatMap((plan) => [1 + draftsOf(plan), 1 + (plan.treeSize ?? 0)]);
      const rowCounts = [...new Set([1, ...own, ...(joins ? JOINT_ROWS : [])])];
      const trees = plans.some(({ treeSize = 0 }) => treeSize > 0);
      if (request?.draftModel) this.#drafters.use(request.draftModel);
      const kinds = new Set(plans.map(drafterOf));
      const drafters = [...new Set(plans.flatMap((plan) => this.#drafters.of(plan) ?? []))];
      const learner = this.#drafters.learnerOf(plans);
      const [begin] = await Promise.all([
        this.#selections.prepare(rowCounts, request, kinds.has("adapter")),
        this.#state.prepare(trees),
        replays && this.#forward.prepare([ROW_CAPACITY]),
        learner?.prepare(rowCounts),
        ...plans.map((plan) => this.#drafters.of(plan)?.prepare(plan)),
      ]);
      return (lane = 0) => ({ selection: learner ? learner.watch(begin(lane)) : begin(lane), drafters });
    } finally {
      done();
    }
  }

  /** What followed each token lately, as it is kept from text to text. */
  get followers(): Followers {
    return this.#drafters.followers;
  }

  /** Begins a generation that `prepare` was called for. */
  begin(limits: Limits, opening: Opening, { lane = 0, length, pending, emitted }: Start = {}): void {
    this.#lanes[lane] = { ...opening, number: lane, limits, pending, place: UNSHARED, errors: [] };
    this.#state.begin(lane, { draftLength: 0, ...limits }, length, pending, emitted);
  }

  /**
   * Runs the prompt through all layers, in chunks; the last one emits the first token.
   *
   * A submission holds as many rows and layers as this device computes in a moment. No result depends on how the prompt is
   * cut.
   * @param stop asked before each submission
   * @param place what of it is in the KV cache
   * @param lane of the text, where a generation has begun
   * @returns the last submission, not waited for; undefined when it was stopped
   */
  async prefill(
    ids: readonly number[],
    stop: () => boolean,
    place: PromptPlace = UNSHARED,
    lane = 0,
  ): Promise<PendingRound | undefined> {
    const reached = await this.#prompt(ids, stop, place, lane, true);
    return reached === "end" ? undefined : reached;
  }

  /**
   * The same for a text that is generated already and whose keys and values are not there: it goes on with the pending token that it was
   * begun with, and chooses none.
   * @param ids committed tokens
   * @returns whether all of it runs, rather than that it was stopped
   */
  async replay(ids: readonly number[], stop: () => boolean, place: PromptPlace, lane: number): Promise<boolean> {
    return (await this.#prompt(ids, stop, place, lane, false)) === "end";
  }

  /** @returns the submission that chose; `end` where none is to; undefined when it was stopped */
  async #prompt(
    ids: readonly number[],
    stop: () => boolean,
    place: PromptPlace,
    lane: number,
    chooses: boolean,
  ): Promise<PendingRound | "end" | undefined> {
    const own = this.#lane(lane);
    own.place = place;
    this.#state.tellPrompt(lane, own.pending === undefined ? ids : [...ids, own.pending]);
    for (const drafter of own.drafters) {
      drafter.begin?.(ids.length, lane);
      if (drafter.forward && !(await this.#prefillThrough(drafter.forward, ids, own, stop))) return undefined;
    }
    for (let start = place.reused; start < ids.length; ) {
      const end = endOfRun(place, start, ids.length);
      const regime: Regime = place.isGenerated(start) ? "generated" : "prompt";
      const pace = regime === "prompt" ? this.#prefillQueue.pace : this.#replayPace;
      const done = await this.#turns.take();
      try {
        const { chunk, last } = this.#nextChunk(ids.slice(0, end), start, regime, pace, own);
        start += chunk.count;
        const chooser = chooses && start === ids.length ? last : undefined;
        const reached = await this.#through(this.#forward, chunk, pace, stop, own, chooser);
        if (reached !== "end") return reached;
      } finally {
        done();
      }
    }
    return "end";
  }

  /** Runs what a drafter's own model has not seen of a prompt through it. @returns false when it was stopped */
  async #prefillThrough(model: Forward, ids: readonly number[], lane: Lane, stop: () => boolean): Promise<boolean> {
    for (let start = lane.place.seenBy(model); start < ids.length; ) {
      const done = await this.#turns.take();
      try {
        const { chunk } = this.#nextChunk(ids, start, "prompt", this.#draftPace, lane);
        start += chunk.count;
        if ((await this.#through(model, chunk, this.#draftPace, stop, lane)) !== "end") return false;
      } finally {
        done();
      }
    }
    return true;
  }

  /** The prompt's next tokens, as many as one submission takes through a layer. */
  #nextChunk(ids: readonly number[], start: number, regime: Regime, { units }: Pace, { place, number }: Lane) {
    const rows = Math.min(regime === "prompt" ? PROMPT_CAPACITY : ROW_CAPACITY, units - (units % LEAST_PREFILL_UNITS));
    const end = Math.min(ids.length, start + rows);
    place.reserve(end);
    return this.#table.writeChunk(ids.slice(start, end), start, regime, number);
  }

  /**
   * Runs a chunk through all layers.
   * @param last the prompt ends with it: its last row, which chooses the first token
   * @returns `end`, or the submission that chose; undefined when it was stopped
   */
  async #through(
    model: Forward,
    chunk: PassRows,
    pace: Pace,
    stop: () => boolean,
    own: Lane,
    last?: PassRows,
  ): Promise<PendingRound | "end" | undefined> {
    const { layers } = model.spec;
    for (let layer = 0; layer < layers; ) {
      if (stop()) return undefined;
      const toLayer = Math.min(layers, layer + Math.max(1, Math.floor(pace.units / chunk.count)));
      const recorder = new Recorder(this.#device.handle, "prefill");
      model.forward(recorder, chunk, layer, toLayer);
      if (last && toLayer === layers) {
        const { target } = own.selection;
        model.liftLast(recorder, chunk.count - 1);
        target.target(recorder, last);
        this.#accept(recorder, last, false, target, own.number);
        return this.#submit(recorder, [{ own, plan: plainPlan(layers) }])[0];
      }
      await this.#prefillQueue.submit(recorder, chunk.count * (toLayer - layer), pace, own.errors);
      this.dispatches += recorder.dispatches;
      layer = toLayer;
    }
    return "end";
  }

  /**
   * Submits a round of the text in lane 0, without waiting for it or for those before it.
   * @param length committed tokens before it, at most
   */
  round(plan: RoundPlan, length: number): PendingRound {
    return this.#rounds([{ lane: 0, plan, length }])[0]!;
  }

  /**
   * Submits a round of several texts, or of one, when no chunk of a prompt is under way. It is not waited for.
   * @param requests that join each other (`joins`)
   * @returns what is under way for each
   */
  async rounds(requests: readonly RoundRequest[]): Promise<PendingRound[]> {
    const done = await this.#turns.take();
    try {
      return this.#rounds(requests);
    } finally {
      done();
    }
  }

  #rounds(requests: readonly RoundRequest[]): PendingRound[] {
    for (const { lane, plan, length, proposal } of requests) {
      const { limits, place } = this.#lane(lane);
      const { draftLength, treeSize, leastProbability } = plan;
      place.reserve(Math.min(length + 1 + draftsOf(plan), limits.contextLength));
      this.#state.configure(lane, {
        ...limits,
        draftLength,
        ...(treeSize && { treeSize }),
        ...(leastProbability && { leastProbability }),
      });
      if (plan.drafter === "own") this.#drafters.own.write(proposal as DraftTree);
    }
    const recorder = new Recorder(this.#device.handle, "round");
    this.record(recorder, requests);
    const rounds = requests.map(({ lane, plan }) => ({ own: this.#lane(lane), plan }));
    return this.#submit(recorder, rounds);
  }

  /**
   * Whether two texts can share a round: both draft chains with the same layers, or nothing, and select alike. Each has its own draft
   * length and its own acceptance.
   */
  joins(a: RoundRequest, b: RoundRequest): boolean {
    const [one, other] = [this.#lane(a.lane).selection.joins, this.#lane(b.lane).selection.joins];
    if (one === undefined || one !== other || a.lane === b.lane) return false;
    const isChain = ({ plan }: RoundRequest) =>
      !plan.treeSize && !plan.shadowExits?.length && (this.#drafters.of(plan)?.joins ?? drafterOf(plan) === "none");
    if (!isChain(a) || !isChain(b)) return false;
    const [drafter, otherDrafter] = [drafterOf(a.plan), drafterOf(b.plan)];
    if (drafter === "none" || otherDrafter === "none") return true;
    return drafter === otherDrafter && a.plan.exitLayer === b.plan.exitLayer;
  }

  /** Records one round: the same commands whatever it decides on the GPU. */
  record(recorder: Recorder, requests: readonly RoundRequest[]): void {
    // All draft with the layers of the one that drafts most; what drafts nothing goes through them as a last draft does.
    const { lane, plan } = requests.reduce((a, b) => (draftsOf(b.plan) > draftsOf(a.plan) ? b : a));
    const { exitLayer, treeSize = 0, shadowExits = [] } = plan;
    const lanes = requests.map((request) => request.lane);
    const model = this.#forward;
    const { draft, exitDraft } = this.#lane(lane).selection;
    const target = this.#targetOf(lane, plan);
    const length = Math.max(...requests.map((request) => request.length));
    const end = Math.max(...requests.map((request) => request.length + 1 + draftsOf(request.plan)));
    const count = requests.reduce((sum, request) => sum + 1 + draftsOf(request.plan), 0);
    const newRows: PassRows = { range: RANGE_VERIFY_EARLY, count: lanes.length + treeSize, end, regime: "generated" };
    const allRows: PassRows = { range: RANGE_VERIFY, count, end, regime: "generated" };

    // Draft: a tree of rows behind the pending token; of several texts, a chain behind each one's.
    const drafter = this.#drafters.of(plan);
    for (const request of requests) this.#catchUp(recorder, request);
    this.#state.plan(recorder, lanes);
    const selection = plan.drafter === "adapter" ? exitDraft! : draft;
    drafter?.draft(recorder, { plan, lane, lanes: lanes.length, length, selection });

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
    for (const each of lanes) this.#accept(recorder, allRows, treeSize > 0, this.#targetOf(each, plan), each);
    drafter?.accepted?.(recorder, lane);
  }

  /** Second models see what others draft. */
  #catchUp(recorder: Recorder, { lane, plan, length }: RoundRequest): void {
    const drafter = this.#drafters.of(plan);
    for (const each of this.#lane(lane).drafters) {
      each.catchUp?.(recorder, length, each === drafter, lane);
      if (each !== drafter) each.missed?.(1 + draftsOf(plan), lane);
    }
  }

  #targetOf(lane: number, plan: RoundPlan): TargetSelection {
    const { target, unwatched } = this.#lane(lane).selection;
    return this.#drafters.learnerOf([plan]) ? target : (unwatched ?? target);
  }

  #accept(recorder: Recorder, rows: PassRows, tree: boolean, target: TargetSelection, lane: number): void {
    this.#state.accept(recorder, rows, tree, lane);
    target.accepted?.(recorder, rows);
  }

  /** Submits a recording that has accepted, with the way back of each text's report. */
  #submit(recorder: Recorder, rounds: readonly { own: Lane; plan: RoundPlan }[]): PendingRound[] {
    const layouts = rounds.map(({ own, plan }): ReportLayout => {
      const shadows = plan.shadowExits?.length ?? 0;
      const rows = 1 + draftsOf(plan);
      return { lane: own.number, rows, chain: plan.draftLength, selection: own.selection, shadows };
    });
    const parts = layouts.map((layout) => reportParts(this.#state, layout));
    const readback = this.#readbacks.record(recorder, parts.flat());
    const submittedAt = performance.now();
    let own: Promise<GpuError | undefined>;
    try {
      own = this.#device.submitOwn(recorder);
    } catch (error) {
      readback.cancel();
      throw error;
    }
    this.dispatches += recorder.dispatches;
    // Of a prompt's end, all that it was made of.
    const errors = Promise.all([own, ...rounds.flatMap((each) => each.own.errors.splice(0))]);
    const read = readback
      .read(errors.then((each) => each.find((error) => error !== undefined)))
      .then((bytes) => ({ bytes, doneAt: performance.now() }));
    let begin = 0;
    return rounds.map(({ plan }, i) => {
      const from = begin;
      begin += parts[i]!.length;
      const to = begin;
      const report = read.then(({ bytes, doneAt }) => ({ ...readReport(bytes.slice(from, to), layouts[i]!), doneAt }));
      report.catch(() => {}); // told to whoever waits for it, which may be nobody
      return { plan, submittedAt, readbackBytes: readback.bytes, texts: rounds.length, report };
    });
  }

  #lane(lane: number): Lane {
    const found = this.#lanes[lane];
    if (!found) throw new Error("a round was recorded before a generation began");
    return found;
  }
}

/** The end of the tokens from `start` on that are computed as it is. */
function endOfRun(place: PromptPlace, start: number, end: number): number {
  const generated = place.isGenerated(start);
  let next = start + 1;
  while (next < end && place.isGenerated(next) === generated) next++;
  return next;
}
