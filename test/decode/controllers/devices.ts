/** Devices to decode on without a model: what a round costs there, and prices that have been calibrated by it. */

import { calibrationPlans } from "../../../src/decode/controllers/calibration.ts";
import { type PriceShape, priceFeatures } from "../../../src/decode/controllers/price_features.ts";
import { Prices } from "../../../src/decode/controllers/prices.ts";
import { Random } from "../../../src/decode/controllers/random.ts";
import type { RoundOutcome, RoundPlan } from "../../../src/decode/plan.ts";

const BUCKETS = [1, 2, 4, 8, 16];

/** The default model and one of 30 layers, whose head is a fifth of its weights. */
export const SMALL: PriceShape = { layers: 5, headLayers: 0.72, buckets: BUCKETS };
export const DEEP: PriceShape = { layers: 30, headLayers: 8, buckets: BUCKETS };

export interface TestDevice {
  readonly name: string;
  /** Of a round, in layers. */
  readonly overhead: number;
  /** What a further row adds to a layer or head. */
  readonly furtherRow: number;
}

/** Bound by bandwidth: 5 rows, computed as 8, cost 1.14 of one. */
export const GPU: TestDevice = { name: "GPU", overhead: 0.3, furtherRow: 0.02 };
/** Bound by computing: 5 rows, computed as 8, cost 2.75 of one. */
export const SOFTWARE: TestDevice = { name: "software adapter", overhead: 0.1, furtherRow: 0.25 };

/** Milliseconds of a round; shadows cost a head of the verified rows each. */
export function costOn({ overhead, furtherRow }: TestDevice, shape: PriceShape): (plan: RoundPlan) => number {
  const prices = [overhead, 1, shape.headLayers, furtherRow, furtherRow * shape.headLayers];
  return (plan) => {
    const features = priceFeatures(plan, shape);
    const shadows = (plan.shadowExits?.length ?? 0) * shape.headLayers * (1 + furtherRow * features[4]!);
    return 0.4 * features.reduce((sum, times, i) => sum + times * prices[i]!, shadows);
  };
}

/**
 * Timings that vary by 30 %; three in a hundred take ten times as long, and three are heard of late: what they are too long,
 * the next one is too short.
 */
export function noisy(seed: number): (milliseconds: number) => number {
  const random = new Random(seed);
  let early = 0;
  return (milliseconds) => {
    const late = random.uniform() < 0.03 ? 0.8 * random.uniform() * milliseconds : 0;
    const took = milliseconds * (0.7 + 0.6 * random.uniform()) * (random.uniform() < 0.03 ? 10 : 1) + late - early;
    early = late;
    return Math.max(0.1 * milliseconds, took);
  };
}

/** A round that was drafted as planned. */
export function timed(plan: RoundPlan, milliseconds: number | undefined): RoundOutcome {
  return { plan, drafted: plan.draftLength, accepted: 0, probabilities: [], shadows: [], milliseconds };
}

export function calibrated(
  shape: PriceShape,
  exitLayers: readonly number[],
  cost: (plan: RoundPlan) => number,
  noise = (milliseconds: number) => milliseconds,
): Prices {
  const prices = new Prices(shape);
  const plans = calibrationPlans({ layers: shape.layers, exitLayers, maxDraftLength: 8 });
  for (const plan of plans) prices.observe(timed(plan, noise(cost(plan))));
  return prices;
}
