/** Reads cached prices: what is not whole is no cache, and gets measured again. */

import { DRAFTER_KINDS, type DrafterKind } from "../plan.ts";
import type { PricedPlan } from "./price_features.ts";

/** What is kept of prices between visits, per device and model. */
export interface PricesJson {
  readonly layers: number;
  readonly headLayers: number;
  /** Timings of each plan, oldest first. */
  readonly plans: readonly (PricedPlan & { readonly milliseconds: readonly number[] })[];
}

/** Plans of a cache: more are not ours. */
const MOST_PLANS = 10_000;

/** @returns undefined where `json` is not what `Prices.toJSON` gives */
export function readPrices(json: unknown): PricesJson | undefined {
  if (!isObject(json) || !isCount(json.layers, 1) || !isPositive(json.headLayers)) return undefined;
  const { layers, headLayers, plans } = json;
  if (!Array.isArray(plans) || plans.length > MOST_PLANS) return undefined;
  const read: PricesJson["plans"][number][] = [];
  for (const plan of plans as unknown[]) {
    if (!isObject(plan) || !isCount(plan.exitLayer, plan.drafter === undefined ? 1 : 0) || plan.exitLayer > layers)
      return undefined;
    if (!isCount(plan.draftLength, 0) || !Array.isArray(plan.milliseconds)) return undefined;
    const milliseconds = plan.milliseconds as unknown[];
    if (!milliseconds.every(isPositive)) return undefined;
    const { exitLayer, draftLength, treeSize = 0, drafter } = plan;
    if (!isCount(treeSize, 0) || !(drafter === undefined || isDrafter(drafter))) return undefined;
    read.push({ ...(drafter && { drafter }), exitLayer, draftLength, ...(treeSize > 0 && { treeSize }), milliseconds });
  }
  return { layers, headLayers, plans: read };
}

function isDrafter(value: unknown): value is DrafterKind {
  return (DRAFTER_KINDS as readonly unknown[]).includes(value);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown, least: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

function isPositive(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value > 0;
}
