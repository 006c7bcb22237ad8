/** The controllers of a model's generations: what they choose among, and what is known of this device and this model. */

import { calibrate } from "../decode/calibrate.ts";
import { calibrationPlans } from "../decode/controllers/calibration.ts";
import { expectedTokens } from "../decode/controllers/expected_tokens.ts";
import { FixedController } from "../decode/controllers/fixed.ts";
import { headInLayers, type PriceShape } from "../decode/controllers/price_features.ts";
import { Prices } from "../decode/controllers/prices.ts";
import { CONTROLLERS } from "../decode/controllers/registry.ts";
import { type Controller, plainPlan, type RoundOutcome, type RoundPlan } from "../decode/plan.ts";
import type { Scheduler } from "../decode/scheduler.ts";
import { isPlainGreedy, type SelectionRequest } from "../decode/selection/selections.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { ExitAdapterInfo } from "../weights/exit_adapter.ts";
import type { Drafting } from "./drafting_options.ts";
import type { PriceCache } from "./price_cache.ts";

/** Most drafts of a round where a controller chooses: more rows than 8 are read in a further slab. */
const CHOSEN_DRAFT_LENGTH = 7;
/** The kind of selection that is priced at load. */
const GREEDY = "greedy";
/** Most exit layers that are compared. */
const CANDIDATE_EXITS = 4;
/** Rows of trees, and lengths of a second model's chains, that are compared: with the pending token's, what kernels compute at a time. */
const LOOKUP_SIZES = [3, 7] as const;
const RECYCLE_SIZES = [7, 15] as const;
const MODEL_LENGTHS = [1, 2, 4, 6] as const;
const ADAPTER_LENGTHS = [1, 2, 3, 5] as const;

/** An exit adapter as far as its price goes. */
export interface PricedAdapter extends Pick<ExitAdapterInfo, "exitLayer" | "hotIds"> {
  /** What a draft reads of it, in layers. */
  layers: number;
}

export class Controllers {
  readonly #engine: () => { scheduler: Scheduler };
  readonly #spec: ModelSpec;
  /** The exit adapter, and what it computes of a draft. */
  #adapter: { exitLayer: number; layers: number; head: number } | undefined;
  /** By what selection computes: it changes what a head costs. `greedy` is what is priced at load. */
  readonly #prices = new Map<string, Prices>();

  /** @param engine what computes the rounds now */
  constructor(engine: () => { scheduler: Scheduler }, spec: ModelSpec) {
    this.#engine = engine;
    this.#spec = spec;
  }

  get #scheduler(): Scheduler {
    return this.#engine().scheduler;
  }

  /**
   * Another exit adapter has been loaded, or none is any more: what the rounds of the one before took says nothing.
   */
  adapterChanged(adapter: PricedAdapter | undefined): void {
    const { vocabSize } = this.#spec;
    this.#adapter = adapter && {
      ...{ exitLayer: adapter.exitLayer, layers: adapter.layers },
      head: (adapter.hotIds ?? vocabSize) / vocabSize,
    };
    for (const [kind, prices] of this.#prices) this.#prices.set(kind, withoutAdapter(prices, this.priceShape()));
  }

  /** Plans that the rounds of a generation may follow. */
  plans(drafting: Drafting): RoundPlan[] {
    const { controller, exitLayer, draftLength } = drafting;
    const fixed = this.#fixedPlan(drafting);
    if (controller === undefined || controller === "fixed") return [fixed];
    const longest = Math.max(CHOSEN_DRAFT_LENGTH, draftLength);
    const lengths = this.#exitsOf(drafting).length > 0 ? Array.from({ length: longest }, (_, i) => i + 1) : [];
    const own = drafting.drafter === "adapter" && { drafter: drafting.drafter };
    const chains = lengths.map((length): RoundPlan => ({ ...own, exitLayer, draftLength: length }));
    return [plainPlan(this.#spec.layers), ...chains, ...this.#treesOf(drafting)];
  }

  /** Whether it has to be known how probable drafts are: the controller decides by it, or it is `asked` for. */
  needProbabilities(drafting: Drafting, asked = false): boolean {
    const { controller } = drafting;
    return controller === "confidence" || controller === "del" || (asked && draftsByLayers(drafting));
  }

  /** Whether rounds of a generation teach what follows each token. */
  learns(drafting: Drafting): boolean {
    return this.plans(drafting).some(({ drafter }) => drafter === "recycle" || drafter === "ouroboros");
  }

  /**
   * A controller for one generation, whose rounds have been prepared. Plain decoding where this device cannot verify several
   * rows in one pass.
   */
  create(drafting: Drafting, selection: SelectionRequest): Controller {
    const { controller, exitLayer, draftLength } = drafting;
    const { layers } = this.#spec;
    if (controller === undefined || !this.#scheduler.takesRowsTogether) return new FixedController(plainPlan(layers));
    if (controller === "fixed") return new FixedController(this.#fixedPlan(drafting));
    // What one text has seen of acceptance is no prior for the next: after a hard one, an easy one would not be drafted.
    return CONTROLLERS[controller]({
      ...{ layers, exitLayer, draftLength, seed: selection.settings.seed },
      ...(drafting.drafter === "adapter" && { drafter: drafting.drafter }),
      maxDraftLength: Math.max(CHOSEN_DRAFT_LENGTH, draftLength),
      candidateExits: this.#exitsOf(drafting),
      trees: this.#treesOf(drafting),
      prices: this.#pricesOf(selection),
    });
  }

  /** Exit layers to choose from; none where no layers draft. */
  #exitsOf({ drafter, controller, exitLayer, treeSize }: Drafting): number[] {
    const { layers } = this.#spec;
    // Where an adapter stands, only it drafts. The governor has its chains among the other plans.
    if (drafter === "adapter") return controller === "governor" ? [] : [exitLayer];
    const drafts = (drafter === "auto" && exitLayer < layers) || (drafter === "layerskip" && treeSize === 0);
    return drafts ? candidateExits(layers, exitLayer) : [];
  }

  /** Plans of drafters other than a chain of the first layers, to choose from beside it and plain decoding. */
  #treesOf(drafting: Drafting): RoundPlan[] {
    const { drafter, controller, draftLength, treeSize, acceptRule } = drafting;
    const sized = (kind: "lookup" | "recycle", sizes: readonly number[]) =>
      sizes.map((size): RoundPlan => ({ drafter: kind, exitLayer: 0, draftLength: 0, treeSize: size }));
    switch (drafter) {
      case "auto":
        if (acceptRule === "ratio") return []; // which needs a distribution to draft from
        return [
          ...this.#adapterChains(Math.max(CHOSEN_DRAFT_LENGTH, draftLength)),
          ...sized("lookup", LOOKUP_SIZES),
          ...(this.#spec.layerSkip ? [] : sized("recycle", RECYCLE_SIZES)),
        ];
      case "adapter":
        if (treeSize > 0) return [this.#fixedPlan(drafting)];
        return controller === "governor" ? this.#adapterChains(Math.max(CHOSEN_DRAFT_LENGTH, draftLength)) : [];
      case "lookup":
      case "recycle": {
        const sizes = drafter === "lookup" ? LOOKUP_SIZES : RECYCLE_SIZES;
        return sized(drafter, [...new Set([...sizes.filter((size) => size < treeSize), treeSize])]);
      }
      case "model": {
        const lengths = [...new Set([...MODEL_LENGTHS.filter((length) => length < draftLength), draftLength])];
        return lengths.map((length): RoundPlan => ({ drafter, exitLayer: 0, draftLength: length }));
      }
      default:
        return treeSize > 0 ? [this.#fixedPlan(drafting)] : [];
    }
  }

  /** Chains of the exit adapter, if there is one; that of the `longest` among them. */
  #adapterChains(longest: number): RoundPlan[] {
    if (!this.#adapter) return [];
    const { exitLayer } = this.#adapter;
    const lengths = [...new Set([...ADAPTER_LENGTHS, longest])].filter((length) => length <= longest);
    return lengths.map((length): RoundPlan => ({ drafter: "adapter", exitLayer, draftLength: length }));
  }

  /** The one that a fixed controller follows. */
  #fixedPlan(drafting: Drafting): RoundPlan {
    const { drafter, exitLayer, draftLength, treeSize } = drafting;
    if (drafter === "none" || drafter === "auto") return plainPlan(this.#spec.layers);
    return { drafter, exitLayer, draftLength, ...(treeSize > 0 && { treeSize }) };
  }

  /** Prices the governor's plans, whose rounds have been prepared: from the cache, else by timing a few. */
  async calibrate(
    exitLayer: number,
    contextLength: number,
    cache: PriceCache,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const shape = this.priceShape();
    const cached = Prices.fromJSON(await cache.read(), shape);
    if (cached) this.#prices.set(GREEDY, cached);
    // A context that is smaller than a round cannot time one.
    if (cached || !this.#scheduler.takesRowsTogether || contextLength <= CHOSEN_DRAFT_LENGTH + 2) return;
    const { layers } = this.#spec;
    const prices = new Prices(shape);
    this.#prices.set(GREEDY, prices);
    const exitLayers = this.#spec.layerSkip ? candidateExits(layers, exitLayer) : [];
    const chains = this.#adapterChains(CHOSEN_DRAFT_LENGTH);
    const others = chains.length > 0 ? [chains[0]!, chains.at(-1)!] : [];
    const plans = calibrationPlans({ layers, exitLayers, maxDraftLength: CHOSEN_DRAFT_LENGTH, others });
    const observe = (outcome: RoundOutcome) => prices.observe(outcome);
    const isWhole = await calibrate(this.#scheduler, { contextLength, plans, signal, observe });
    if (isWhole) await cache.write(prices.toJSON());
  }

  /** Tokens of plain decoding in the time of one that drafts with a linear map behind an exit allow, which agrees so often: at the best draft length. */
  speedupOf({ exitLayer, layers: mapLayers }: { exitLayer: number; layers: number }, agreement: number): number {
    const { layers } = this.#spec;
    const shape = { ...this.priceShape(), exitAdapter: { layers: mapLayers, head: 1 } };
    const greedy = this.#prices.get(GREEDY);
    const prices = greedy ? withoutAdapter(greedy, shape) : new Prices(shape);
    const plain = prices.milliseconds(plainPlan(layers));
    const speedups = Array.from({ length: CHOSEN_DRAFT_LENGTH }, (_, i) => {
      const price = prices.milliseconds({ drafter: "adapter", exitLayer, draftLength: i + 1 });
      return (expectedTokens(agreement, i + 1) * plain) / price;
    });
    return Math.max(...speedups);
  }

  /** Takes the time of a round of a generation with this selection. */
  observe(selection: SelectionRequest, outcome: RoundOutcome): void {
    this.#pricesOf(selection).observe(outcome);
  }

  /** Prices of a kind of selection; the first time those of greedy rounds: how plans compare is much the same. */
  #pricesOf(selection: SelectionRequest): Prices {
    const kind = kindOf(selection);
    const shape = this.priceShape(selection.draftModel?.spec);
    const greedy = this.#prices.get(GREEDY);
    const prices = this.#prices.get(kind) ?? (greedy && Prices.fromJSON(greedy.toJSON(), shape)) ?? new Prices(shape);
    this.#prices.set(kind, prices);
    return prices;
  }

  /**
   * What times of rounds are made of.
   * @param draftModel the second model that drafts
   */
  priceShape(draftModel?: ModelSpec): PriceShape {
    const { layers } = this.#spec;
    const draftModelLayers = draftModel && stepWeights(draftModel) / layerWeights(this.#spec);
    const buckets = this.#scheduler.rowBuckets;
    return {
      ...{ layers, headLayers: headLayers(this.#spec), buckets },
      ...(draftModelLayers && { draftModelLayers }),
      ...(this.#adapter && { exitAdapter: this.#adapter }),
    };
  }
}

/** The same prices, but for rounds that an exit adapter drafted. */
function withoutAdapter(prices: Prices, shape: PriceShape): Prices {
  const json = prices.toJSON();
  const plans = json.plans.filter(({ drafter }) => drafter !== "adapter");
  return Prices.fromJSON({ ...json, plans }, shape) ?? new Prices(shape);
}

/** Whether drafts are chosen by layers and a head, so that they have probabilities. */
function draftsByLayers({ drafter, draftLength }: Drafting): boolean {
  return draftLength > 0 && drafter !== "none";
}

/** What rounds of a selection have in common that changes their cost. */
function kindOf({ settings, probabilities, branches, topLogProbs, ...request }: SelectionRequest): string {
  const { hotIds, draftModel, learns } = request;
  const parts = [
    isPlainGreedy(settings) ? GREEDY : "sampled",
    ...(probabilities ? ["probabilities"] : []),
    ...(branches ? ["branches"] : []),
    ...(learns ? ["learning"] : []),
    ...(draftModel ? [`a draft model of ${stepWeights(draftModel.spec)} weights`] : []),
    ...(topLogProbs === undefined ? [] : ["log probabilities"]),
    ...(hotIds ? [`${hotIds.length} hot ids`] : []),
  ];
  return parts.join(", ");
}

/** Some exit layers from the first to half of the layers, the recommended one among them. */
function candidateExits(layers: number, exitLayer: number): number[] {
  const last = Math.max(1, Math.min(layers - 1, Math.max(exitLayer, Math.ceil(layers / 2))));
  const count = Math.min(CANDIDATE_EXITS, last);
  const even = Array.from({ length: count }, (_, i) => Math.round(((i + 1) * last) / count));
  return [...new Set([...even, exitLayer])].sort((a, b) => a - b);
}

/** Weights of the head in those of a layer. */
function headLayers(spec: ModelSpec): number {
  const { vocabSize, hiddenSize } = spec;
  return headInLayers({ vocabSize, hiddenSize, layerWeights: layerWeights(spec) });
}

function layerWeights({ hiddenSize, intermediateSize, heads, kvHeads, headDim }: ModelSpec): number {
  const attention = hiddenSize * headDim * (2 * heads + 2 * kvHeads);
  return attention + 3 * hiddenSize * intermediateSize;
}

/** Weights that a token reads. */
function stepWeights(spec: ModelSpec): number {
  return spec.layers * layerWeights(spec) + spec.vocabSize * spec.hiddenSize;
}
