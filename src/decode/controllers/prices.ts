/**
 * What a round of a plan costs on this device: a model fitted to all timings (price_features.ts), and a plan's own timings
 * instead as they become many.
 */

import type { RoundOutcome } from "../plan.ts";
import { nonNegativeLeastSquares } from "./least_squares.ts";
import { planKey as key, type PricedPlan, type PriceShape, priceFeatures } from "./price_features.ts";
import { type PricesJson, readPrices } from "./prices_json.ts";
import { Timings } from "./timings.ts";

/** What plans cost; the head is in it. */
export interface PlanPrices {
  /** Of a round; as long as nothing was measured, in the time of a layer for one row. */
  milliseconds(plan: PricedPlan): number;
  /** How many fresh timings of the plan itself the price rests on. */
  measured(plan: PricedPlan): number;
}

/** f and what a further row adds, as shares of a layer or head: between a GPU bound by bandwidth and a software adapter. */
const PRIOR_OVERHEAD = 0.3;
const PRIOR_FURTHER_ROW = 0.06;
/** How strongly f, b, c and e are held to their prior ratio to a: c and e differ most between devices. */
const RIDGE = [0.03, 0, 0.1, 0.003, 0.003];
/** Which of them the layer's is. */
const LAYER = 1;
/** A plan's own timings and the fit are worth the same at this many timings. */
const FIT_WORTH = 3;
/** Timings after which it is fitted again. */
const REFIT = 16;

export class Prices implements PlanPrices {
  readonly shape: PriceShape;
  /** f, a, b, c and e in layers of one row, before anything was measured. */
  readonly #prior: readonly number[];
  /** Milliseconds a unit of the prior, for each of them; undefined: to be fitted again. */
  #fit: readonly number[] | undefined = [1, 1, 1, 1, 1];
  readonly #timings = new Map<string, { plan: PricedPlan; timings: Timings }>();
  /** Prices as they were told last; those that a timing has changed since are not among them. */
  readonly #prices = new Map<string, number>();
  #rounds = 0;
  /** The last fit, by the scale of its time: where the next one begins. */
  #solution: readonly number[] = [1, 1, 1, 1, 1];
  /** Timings that the fit does not know. */
  #unfitted = 0;

  constructor(shape: PriceShape) {
    this.shape = shape;
    this.#prior = [PRIOR_OVERHEAD, 1, shape.headLayers, PRIOR_FURTHER_ROW, PRIOR_FURTHER_ROW * shape.headLayers];
  }

  /** @returns what `toJSON` gave, or undefined where `json` is not that or belongs to another model */
  static fromJSON(json: unknown, shape: PriceShape): Prices | undefined {
    const read = readPrices(json);
    if (read?.layers !== shape.layers || read.headLayers !== shape.headLayers) return undefined;
    const prices = new Prices(shape);
    for (const { milliseconds, ...plan } of read.plans) for (const each of milliseconds) prices.#add(plan, each);
    return prices;
  }

  toJSON(): PricesJson {
    const plans = [...this.#timings.values()].map(({ plan, timings }) => ({ ...plan, milliseconds: timings.values }));
    return { layers: this.shape.layers, headLayers: this.shape.headLayers, plans };
  }

  /**
   * Takes a round's time. A chain that was shorter than planned, or a round that did more than draft and verify, tells no plan's
   * price. A tree with fewer rows does: kernels compute the rows that were planned, and what it finds is the plan's lot.
   */
  observe({ plan, drafted, milliseconds }: RoundOutcome): void {
    if (milliseconds === undefined || !(milliseconds > 0) || !Number.isFinite(milliseconds)) return;
    this.#rounds++;
    if (drafted < plan.draftLength || plan.shadowExits?.length) return;
    const { drafter, exitLayer, draftLength, treeSize } = plan;
    this.#add({ ...(drafter && { drafter }), exitLayer, draftLength, ...(treeSize && { treeSize }) }, milliseconds);
  }

  #add(plan: PricedPlan, milliseconds: number): void {
    const entry = this.#timings.get(key(plan)) ?? { plan, timings: new Timings() };
    this.#timings.set(key(plan), entry);
    entry.timings.add(milliseconds, this.#rounds);
    this.#unfitted++;
    this.#prices.delete(key(plan));
    // A first timing of a plan tells most; the others wait for each other, since a fit takes as long as a small model's layer.
    if (entry.timings.count > 2 && this.#unfitted < REFIT) return;
    this.#fit = undefined;
    this.#prices.clear();
  }

  measured(plan: PricedPlan): number {
    return this.#timings.get(key(plan))?.timings.weight(this.#rounds) ?? 0;
  }

  milliseconds(plan: PricedPlan): number {
    const name = key(plan);
    const price = this.#prices.get(name) ?? this.#price(plan, this.#timings.get(name)?.timings);
    this.#prices.set(name, price);
    return price;
  }

  #price(plan: PricedPlan, timings: Timings | undefined): number {
    const fitted = this.#fitted(plan);
    // A single timing may be an outlier.
    if (!timings || timings.count < 2) return fitted;
    const weight = timings.weight(this.#rounds);
    return (weight * timings.mean + FIT_WORTH * fitted) / (weight + FIT_WORTH);
  }

  #fitted(plan: PricedPlan): number {
    if (!this.#fit) {
      this.#fit = this.#solve();
      this.#unfitted = 0;
    }
    return this.#shares(plan).reduce((sum, share, i) => sum + share * this.#fit![i]!, 0);
  }

  /** What each of f, a, b, c and e adds to a plan's prior. */
  #shares(plan: PricedPlan): number[] {
    return priceFeatures(plan, this.shape).map((times, i) => times * this.#prior[i]!);
  }

  /** Residuals are relative to what was measured: long plans count no more than short ones, and outliers less. */
  #solve(): number[] {
    const seen = [...this.#timings.values()].map(({ plan, timings }) => {
      const shares = this.#shares(plan);
      const perUnit = timings.mean / shares.reduce((sum, share) => sum + share, 0);
      return { shares, mean: timings.mean, weight: timings.weight(this.#rounds), perUnit };
    });
    const scale = seen.map(({ perUnit }) => perUnit).sort((a, b) => a - b)[(seen.length - 1) >> 1]!;
    const observations = seen.map(({ shares, mean, weight }) => ({
      features: shares.map((share) => (share * scale) / mean),
      weight,
    }));
    this.#solution = nonNegativeLeastSquares(observations, RIDGE, LAYER, this.#solution);
    return this.#solution.map((each) => each * scale);
  }
}
