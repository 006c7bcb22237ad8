import { describe, expect, test } from "vitest";
import { DelController } from "../../../src/decode/controllers/del.ts";
import { expectedTokens } from "../../../src/decode/controllers/expected_tokens.ts";
import type { RoundOutcome, RoundPlan, ShadowAgreement } from "../../../src/decode/plan.ts";
import { calibrated, costOn, DEEP, GPU, SOFTWARE } from "./devices.ts";

const EXITS = [4, 8, 12, 20];

function outcome(plan: RoundPlan, accepted: number, shadows: readonly ShadowAgreement[] = []): RoundOutcome {
  return { plan, drafted: plan.draftLength, accepted, probabilities: [], shadows, milliseconds: undefined };
}

function make(device = GPU): DelController {
  const prices = calibrated(DEEP, EXITS, costOn(device, DEEP));
  return new DelController({ layers: 30, exitLayers: EXITS, maxDraftLength: 8, prices, acceptance: 0.6 });
}

/** Plays rounds in which exits agree by these shares, and returns the last plan without shadows. */
function settle(controller: DelController, agreement: Readonly<Record<number, number>>): RoundPlan {
  let last: RoundPlan | undefined;
  for (let round = 0; round < 200; round++) {
    const plan = controller.plan();
    const shadows = (plan.shadowExits ?? []).map((exitLayer) => ({
      exitLayer,
      agreed: 10 * agreement[exitLayer]!,
      of: 10,
    }));
    const expected = plan.draftLength && expectedTokens(agreement[plan.exitLayer]!, plan.draftLength) - 1;
    controller.observe(outcome(plan, Math.round(expected), shadows));
    if (!plan.shadowExits) last = plan;
  }
  return last!;
}

describe("expected tokens", () => {
  test("of a round are (1 - a^(d+1)) / (1 - a)", () => {
    expect(expectedTokens(0.7, 4)).toBeCloseTo((1 - 0.7 ** 5) / 0.3, 12);
    expect([expectedTokens(0, 4), expectedTokens(1, 4), expectedTokens(0.5, 0)]).toEqual([1, 5, 1]);
  });
});

describe("DEL", () => {
  test("asks for shadows of the other exits in every eighth round, drafting with the smallest", () => {
    const controller = make();
    for (let round = 0; round < 24; round++) {
      const plan = controller.plan();
      expect(plan.shadowExits).toEqual(round % 8 === 0 ? [8, 12, 20] : undefined);
      if (plan.shadowExits) expect(plan.exitLayer).toBe(4);
      if (plan.shadowExits) expect(plan.draftLength).toBeGreaterThan(0);
      controller.observe(outcome(plan, 0));
    }
  });

  test("chooses the exit whose agreement pays most", () => {
    expect(settle(make(), { 4: 0.1, 8: 0.9, 12: 0.9, 20: 0.9 }).exitLayer).toBe(8);
    expect(settle(make(), { 4: 0.1, 8: 0.1, 12: 0.95, 20: 0.95 }).exitLayer).toBe(12);
    expect(settle(make(), { 4: 0.9, 8: 0.9, 12: 0.9, 20: 0.9 }).exitLayer).toBe(4);
  });

  test("learns an exit's agreement from shadows alone", () => {
    const controller = make();
    const plan = { exitLayer: 4, draftLength: 1, shadowExits: [8, 12, 20] };
    const shadows = [8, 12, 20].map((exitLayer) => ({ exitLayer, agreed: exitLayer === 12 ? 10 : 0, of: 10 }));
    for (let round = 0; round < 20; round++) controller.observe(outcome(plan, 0, shadows));
    controller.plan();
    expect(controller.plan().exitLayer).toBe(12);
  });

  test("takes drafts behind the first refused one for unknown", () => {
    const prices = calibrated(DEEP, [4], costOn(GPU, DEEP));
    const controller = new DelController({ layers: 30, exitLayers: [4], maxDraftLength: 8, prices, acceptance: 0.6 });
    // One accepted, one refused: half of the drafts are accepted, which pays; one in eight would not.
    for (let round = 0; round < 100; round++) controller.observe(outcome({ exitLayer: 4, draftLength: 8 }, 1));
    expect(controller.plan().exitLayer).toBe(4);
  });

  test("drafts longer the more is accepted, and not at all where nothing is", () => {
    const often = settle(make(), { 4: 0.95, 8: 0.95, 12: 0.95, 20: 0.95 });
    const seldom = settle(make(), { 4: 0.5, 8: 0.5, 12: 0.5, 20: 0.5 });
    expect(often.draftLength).toBeGreaterThan(seldom.draftLength);
    expect(settle(make(), { 4: 0, 8: 0, 12: 0, 20: 0 })).toMatchObject({ exitLayer: 30, draftLength: 0 });
  });

  test("goes by measured cost: where rows cost, drafts are shorter", () => {
    const agreement = { 4: 0.9, 8: 0.9, 12: 0.9, 20: 0.9 };
    expect(settle(make(SOFTWARE), agreement).draftLength).toBeLessThan(settle(make(GPU), agreement).draftLength);
  });

  test("stops drafts by the threshold of the confidence stop", () => {
    const controller = make();
    const plan = controller.plan();
    expect(plan.leastProbability).toBe(0.4);
    controller.observe({ ...outcome({ ...plan, draftLength: 2 }, 1), probabilities: [0.8, 0.6] });
    expect(controller.plan().leastProbability).toBeCloseTo(0.7, 6);
  });
});
