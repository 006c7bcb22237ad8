/**
 * Sampled selection: logits -> scores -> what is allowed -> an id, on the GPU. Also greedy selection where penalties, biases,
 * probabilities or log probabilities need the logits.
 *
 * By default draft and target draw the same noise, which depends on seed, position and id alone: the target's choice is what
 * plain decoding's would be, and a draft is accepted iff it equals it (Daliri, Musco, Suresh 2024). Under the ratio rule
 * (LayerSkip, section 4.3) the draft draws noise of its own and the target accepts it by the ratio of probabilities.
 */

import type { Forward } from "../../forward/forward.ts";
import type { Head } from "../../forward/head.ts";
import type { HotColumns } from "../../forward/hot_columns.ts";
import type { PassRows, RowTable } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import type { Device } from "../../gpu/device.ts";
import { BufferUsage } from "../../gpu/usage.ts";
import { LANES, RANGE_BYTES, ROW_CAPACITY } from "../../kernels/constants.ts";
import { TOPS_BYTES } from "../../kernels/drafting.ts";
import {
  confidenceSteps,
  encodeBias,
  encodeSampling,
  IN_PROMPT,
  isPenalised,
  LOG_PROBS_BYTES,
  LogProbs,
  Ratio,
  Remember,
  SAMPLING_BYTES,
  type SamplingSettings,
  STREAM,
  wantedLogProbs,
} from "../../kernels/sampling.ts";
import type { RoundState } from "../round_state.ts";
import { CandidateChoice } from "./candidates.ts";
import { type SamplingBuffers, ScoredSide } from "./scored_side.ts";
import type { DraftSelection, TargetSelection } from "./selection.ts";

/** What a generation wants of it. */
export interface SampledRequest {
  settings: Readonly<SamplingSettings>;
  /** `invariant`: the same ids as plain decoding's. `ratio`: the same distribution. */
  acceptRule: "invariant" | "ratio";
  /** Compute the probability of each draft, and stop drafting where a plan says how small is too small. */
  probabilities: boolean;
  /** Tell the best choices of drafts, for drafters that make branches of them. */
  branches: boolean;
  /** Alternatives told of each token; undefined: no log probabilities. */
  topLogProbs: number | undefined;
  promptIds: readonly number[];
  /** Tokens behind the prompt that count as emitted already. Default: none. */
  emittedIds?: readonly number[];
}

/** A head that drafts use instead of the model's: that of hot ids, of a second model, or of an exit adapter. */
export interface DraftHead {
  /** Whom what is made for it is booked under: it goes with it. */
  owner: string;
  head: Head;
  /** Absent: over all ids. */
  columns?: HotColumns | undefined;
}

/** The heads of drafts, where they are not the model's: of drafts of all kinds but one, and of those of the exit adapter. */
export interface DraftHeads {
  hot: DraftHead | undefined;
  exit: DraftHead | undefined;
}

/** Drafts that are scored apart from targets. */
interface OwnDraft {
  head: Head;
  side: ScoredSide;
  choice: CandidateChoice;
}

const OWNER = "sampling";

/** How a generation selects by scores. */
export interface SampledLane {
  draft: DraftSelection;
  /** Drafts from what the exit adapter has made; where rounds use it. */
  exitDraft: DraftSelection | undefined;
  target: TargetSelection;
  /** Records the log probabilities of targets that were chosen without the logits. */
  tellLogProbs: (recorder: Recorder, rows: PassRows) => void;
}

export class SampledSelection {
  /** `[ROW_CAPACITY]` f32 */
  readonly probabilities: GPUBuffer;
  /** `[ROW_CAPACITY]` best choices of drafts (shaders/drafting/exit_tops.wgsl) */
  readonly choices: GPUBuffer;
  /** `[ROW_CAPACITY]` LogProbs */
  readonly logProbs: GPUBuffer;
  readonly #device: Device;
  readonly #forward: Forward;
  readonly #table: RowTable;
  readonly #state: RoundState;
  readonly #logits: GPUBuffer;
  readonly #kernels: { ratio: Ratio; logProbs: LogProbs; remember: Remember };
  readonly #buffers: SamplingBuffers;
  readonly #wanted: GPUBuffer;
  readonly #target: ScoredSide;
  readonly #choice: CandidateChoice;
  readonly #logProbsGroup: GPUBindGroup;
  readonly #remember: (lane: number) => GPUBindGroup;
  /** For the ratio rule, which needs the scores of both at once. */
  #ratio: (OwnDraft & { group: GPUBindGroup }) | undefined;
  /** For drafts by other heads. Those of hot ids are not asked for again once another size has taken their place. */
  readonly #byHead = new WeakMap<Head, OwnDraft>();
  /** Alternatives that log probabilities are told with. */
  #top: number | undefined;

  /** @param logits of all ids, prepared */
  constructor(device: Device, forward: Forward, table: RowTable, state: RoundState, logits: GPUBuffer) {
    this.#device = device;
    this.#forward = forward;
    this.#table = table;
    this.#state = state;
    this.#logits = logits;
    this.#kernels = { ratio: new Ratio(device), logProbs: new LogProbs(device), remember: new Remember(device) };
    const { STORAGE, UNIFORM, COPY_DST, COPY_SRC } = BufferUsage;
    const allocate = (name: string, bytes: number, usage: number) => device.ledger.allocate(OWNER, name, bytes, usage);
    const { vocabSize } = forward.spec;
    this.probabilities = allocate("probabilities", ROW_CAPACITY * 4, STORAGE | COPY_SRC);
    this.choices = allocate("best choices", ROW_CAPACITY * TOPS_BYTES, STORAGE);
    this.logProbs = allocate("log probabilities", ROW_CAPACITY * LOG_PROBS_BYTES, STORAGE | COPY_SRC);
    this.#wanted = allocate("wanted log probabilities", 8, UNIFORM | COPY_DST);
    this.#buffers = {
      samplings: allocate("settings", LANES * SAMPLING_BYTES, STORAGE | COPY_DST),
      bias: allocate("bias", LANES * vocabSize * 4, STORAGE | COPY_DST),
      counts: allocate("counts", LANES * vocabSize * 4, STORAGE | COPY_DST),
      state,
      steps: allocate("steps", ROW_CAPACITY * RANGE_BYTES, UNIFORM | COPY_DST),
      probabilities: this.probabilities,
      tops: this.choices,
    };
    device.handle.queue.writeBuffer(this.#buffers.steps, 0, confidenceSteps());
    this.#target = new ScoredSide(device, OWNER, table, this.#buffers, { count: vocabSize, logits });
    const { candidates, candidatesPerRow } = this.#target;
    this.#choice = new CandidateChoice(device, OWNER, table, candidates, candidatesPerRow, state);
    const { targets } = state;
    const [shape, range, logProbs] = [this.#wanted, table.ranges, this.logProbs];
    const { remember } = this.#kernels;
    const { counts } = this.#buffers;
    this.#remember = state.perLane(({ report, settings }) => remember.bind({ report, settings, counts }));
    this.#logProbsGroup = this.#kernels.logProbs.bind({ range, shape, logits, targets, logProbs });
  }

  /**
   * Compiles what a generation needs and gives it the buffers it needs beyond others'.
   * @param heads those that drafts use, where they are not the model's
   */
  async prepare(request: SampledRequest, { hot, exit }: DraftHeads): Promise<void> {
    const { settings, acceptRule, probabilities, branches, topLogProbs } = request;
    const { ratio, logProbs, remember } = this.#kernels;
    const ruled = acceptRule === "ratio";
    if (ruled && !this.#ratio) {
      const bytes = ROW_CAPACITY * this.#forward.spec.vocabSize * 4;
      this.#ratio = await this.#device.allocating("scores of drafts", bytes, () => this.#bindRatio());
    }
    const own = ruled ? this.#ratio : hot && (await this.#by(hot));
    const drafts = [own, exit && (await this.#by(exit))];
    await Promise.all([
      this.#target.prepare(probabilities, branches),
      this.#choice.prepare(),
      ...drafts.flatMap((draft) => [draft?.side.prepare(probabilities, branches), draft?.choice.prepare()]),
      ruled && ratio.prepare(),
      topLogProbs !== undefined && logProbs.prepare(),
      isPenalised(settings) && remember.prepare(),
    ]);
  }

  /** Begins a generation in a lane; `prepare` has been called for it. */
  begin(lane: number, request: SampledRequest, { hot, exit }: DraftHeads): SampledLane {
    this.#tell(lane, request);
    const { settings, acceptRule, probabilities, topLogProbs } = request;
    const ruled = acceptRule === "ratio";
    const wantsMass = ruled || probabilities;
    const whole: OwnDraft = { head: this.#forward.head, side: this.#target, choice: this.#choice };
    const own = (ruled ? this.#ratio : hot && this.#byHead.get(hot.head)) ?? whole;
    const stream = ruled ? STREAM.draft : STREAM.target;
    const draftBy = ({ head, side, choice }: OwnDraft): DraftSelection => ({
      draft: (recorder, row) => {
        side.turnTo(stream, wantsMass);
        head.logits(recorder, row);
        side.score(recorder, row);
        side.pick(recorder, row);
        choice.draft(recorder, row);
        if (probabilities) side.confidence(recorder, row, lane);
      },
      bestChoices: (recorder, rows) => {
        side.bestChoices(recorder, rows);
        return this.choices;
      },
    });
    const score = (recorder: Recorder, rows: PassRows) => {
      this.#target.turnTo(STREAM.target, wantsMass);
      whole.head.logits(recorder, rows);
      this.#target.score(recorder, rows);
    };
    const target: TargetSelection = {
      target: (recorder, rows) => {
        score(recorder, rows);
        if (ruled) this.#kernels.ratio.dispatch(recorder, this.#ratio!.group, rows, this.#forward.spec.vocabSize);
        else this.#target.pick(recorder, rows);
        this.#choice.target(recorder, rows);
      },
      shadow: (recorder, rows, index) => {
        score(recorder, rows);
        this.#target.pick(recorder, rows);
        this.#choice.shadow(recorder, rows, index);
      },
      accepted: (recorder, rows) => {
        if (isPenalised(settings)) this.#kernels.remember.dispatch(recorder, this.#remember(lane));
        if (topLogProbs !== undefined) this.#tellLogProbs(recorder, rows, topLogProbs);
      },
    };
    const exitOwn = exit && this.#byHead.get(exit.head);
    return {
      ...{ draft: draftBy(own), exitDraft: exitOwn && draftBy(exitOwn), target },
      tellLogProbs: (recorder, rows) => {
        whole.head.logits(recorder, rows);
        this.#tellLogProbs(recorder, rows, topLogProbs ?? 0);
      },
    };
  }

  /** Writes what a text's scores go by. */
  #tell(lane: number, { settings, promptIds, emittedIds = [] }: SampledRequest): void {
    const { queue } = this.#device.handle;
    const { vocabSize } = this.#forward.spec;
    const { samplings, bias, counts } = this.#buffers;
    const own = lane * vocabSize * 4;
    queue.writeBuffer(samplings, lane * SAMPLING_BYTES, encodeSampling(settings, vocabSize));
    if (settings.logitBias.size > 0) queue.writeBuffer(bias, own, encodeBias(settings.logitBias, vocabSize));
    if (isPenalised(settings)) {
      const words = new Uint32Array(vocabSize);
      for (const id of promptIds) words[id] = IN_PROMPT;
      for (const id of emittedIds) words[id]! += 1;
      queue.writeBuffer(counts, own, words);
    }
  }

  #tellLogProbs(recorder: Recorder, rows: PassRows, top: number): void {
    if (top !== this.#top) {
      this.#top = top;
      this.#device.handle.queue.writeBuffer(this.#wanted, 0, wantedLogProbs(this.#forward.spec.vocabSize, top));
    }
    this.#kernels.logProbs.dispatch(recorder, this.#logProbsGroup, rows);
  }

  #bindRatio(): OwnDraft & { group: GPUBindGroup } {
    const ids = { count: this.#forward.spec.vocabSize, logits: this.#logits };
    const own = this.#ownDraft(
      OWNER,
      this.#forward.head,
      new ScoredSide(this.#device, OWNER, this.#table, this.#buffers, ids),
    );
    const { shape, scores, filters, candidates } = this.#target;
    const group = this.#kernels.ratio.bind({
      range: this.#table.ranges,
      rows: this.#table.rows,
      samplings: this.#buffers.samplings,
      ...{ shape, scores, filters, candidates, draftScores: own.side.scores, draftFilters: own.side.filters },
    });
    return { ...own, group };
  }

  /** Drafts by a head, made when it is first asked for. */
  async #by(hot: DraftHead): Promise<OwnDraft> {
    const { owner, head, columns } = hot;
    const made = this.#byHead.get(head);
    if (made) return made;
    const bytes = ROW_CAPACITY * head.size * 4;
    const logits = await head.allocateLogits();
    const draft = await this.#device.allocating("scores of drafts", bytes, () => {
      const ids = { count: head.size, logits, ...(columns && { hotIds: columns.ids }) };
      const side = new ScoredSide(this.#device, owner, this.#table, this.#buffers, ids);
      return this.#ownDraft(owner, head, side);
    });
    this.#byHead.set(head, draft);
    return draft;
  }

  #ownDraft(owner: string, head: Head, side: ScoredSide): OwnDraft {
    const { candidates, candidatesPerRow } = side;
    return {
      ...{ head, side },
      choice: new CandidateChoice(this.#device, owner, this.#table, candidates, candidatesPerRow, this.#state),
    };
  }
}
