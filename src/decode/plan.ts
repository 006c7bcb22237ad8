/** What a round is asked to do, and what became of it: all that controllers and the governor know. */

/** Who may draft a round. `none`: nobody; `adapter`: the first layers with an exit adapter; `own`: the caller's drafter. */
export const DRAFTER_KINDS = [
  "none",
  "layerskip",
  "adapter",
  "lookup",
  "recycle",
  "ouroboros",
  "model",
  "own",
] as const;
export type DrafterKind = (typeof DRAFTER_KINDS)[number];

/** How a round drafts: at most `draftLength` tokens with layers [0, exitLayer), and at most `treeSize` on top of them. */
export interface RoundPlan {
  /** Default: `layerskip`, or `none` where nothing is drafted. */
  readonly drafter?: DrafterKind;
  /** Layers that draft; 0 where no layers do. */
  readonly exitLayer: number;
  /** Drafts by layers, one behind the other. */
  readonly draftLength: number;
  /** Rows of a tree on top of them. Default: 0. */
  readonly treeSize?: number;
  /** Drafting stops behind a draft that is less probable than this under the draft's own distribution; absent: never. */
  readonly leastProbability?: number;
  /** Exit layers after `exitLayer` whose choice after each verified row is told too, for controllers that compare exits. */
  readonly shadowExits?: readonly number[];
}

/** Plain decoding as a round: no drafts and an exit after the last layer, so that nothing is left to verify. */
export function plainPlan(layers: number): RoundPlan {
  return { exitLayer: layers, draftLength: 0 };
}

/** Tokens that a round may draft. */
export function draftsOf({ draftLength, treeSize = 0 }: Pick<RoundPlan, "draftLength" | "treeSize">): number {
  return draftLength + treeSize;
}

/** Who drafts a round. */
export function drafterOf(plan: Pick<RoundPlan, "drafter" | "draftLength" | "treeSize">): DrafterKind {
  return draftsOf(plan) === 0 ? "none" : (plan.drafter ?? "layerskip");
}

/** How often an exit layer's own choice was the full model's, among rows whose context was accepted. */
export interface ShadowAgreement {
  readonly exitLayer: number;
  readonly agreed: number;
  readonly of: number;
}

/** A round that has been read. */
export interface RoundOutcome {
  readonly plan: RoundPlan;
  /** Drafts made: fewer than planned at the end of a text, or where the draft was unsure. */
  readonly drafted: number;
  readonly accepted: number;
  /** Of each draft, under the draft's own distribution; empty where they were not computed. */
  readonly probabilities: readonly number[];
  readonly shadows: readonly ShadowAgreement[];
  /** What the round took on the GPU, pipelined rounds apart; undefined where that cannot be told. */
  readonly milliseconds: number | undefined;
}

/** A plan that was compared with others: what a round of it would cost and give. */
export interface PlanPrice {
  readonly drafter?: DrafterKind;
  readonly exitLayer: number;
  readonly draftLength: number;
  readonly treeSize?: number;
  /** Expected milliseconds of a round, and tokens that it emits. */
  readonly milliseconds: number;
  readonly tokens: number;
}

/** The plans that were compared for a round, and why one was chosen. */
export interface PlanDecision {
  /** The one that was chosen. */
  readonly plan: RoundPlan;
  /** Such as `best`, `plain` or `probe`. */
  readonly reason: string;
  readonly prices: readonly PlanPrice[];
}

/**
 * Chooses the plan of each round. Rounds are submitted ahead of the reports of those before them, so what a controller has
 * observed when it plans is one round old. No controller can change the text.
 */
export interface Controller {
  /** Why the last plan was chosen, of a controller that compares plans; undefined before the first. */
  readonly decision?: PlanDecision | undefined;
  /** The plan of the next round. */
  plan(): RoundPlan;
  /** The text goes on with `ids`: first the prompt, then what it and each round emitted. */
  tell?(ids: readonly number[]): void;
  /** What became of a round, in the order of the rounds. */
  observe(outcome: RoundOutcome): void;
}
