import { describe, expect, test } from "vitest";
import { FixedController } from "../../../src/decode/controllers/fixed.ts";
import { HeuristicController } from "../../../src/decode/controllers/heuristic.ts";
import { ThompsonController } from "../../../src/decode/controllers/thompson.ts";
import type { Controller, RoundOutcome } from "../../../src/decode/plan.ts";

function outcome(drafted: number, accepted: number, draftLength = drafted): RoundOutcome {
  return { plan: { exitLayer: 2, draftLength }, drafted, accepted, probabilities: [], shadows: [], milliseconds: 1 };
}

function lengths(controller: Controller, count: number): number[] {
  return Array.from({ length: count }, () => controller.plan().draftLength);
}

describe("fixed", () => {
  test("never changes its plan", () => {
    const plan = { exitLayer: 2, draftLength: 4 };
    const controller = new FixedController(plan);
    controller.observe();
    expect(controller.plan()).toEqual(plan);
  });
});

describe("heuristic", () => {
  const make = () => new HeuristicController({ exitLayer: 2, draftLength: 4, maxDraftLength: 8 });

  test("drafts two more after a full match, one fewer after any other round", () => {
    const controller = make();
    expect(controller.plan()).toEqual({ exitLayer: 2, draftLength: 4 });
    controller.observe(outcome(4, 4));
    expect(controller.plan().draftLength).toBe(6);
    controller.observe(outcome(6, 5));
    controller.observe(outcome(6, 0));
    expect(controller.plan().draftLength).toBe(4);
  });

  test("stays between one and the maximum", () => {
    const controller = make();
    for (let i = 0; i < 9; i++) controller.observe(outcome(4, 4));
    expect(controller.plan().draftLength).toBe(8);
    for (let i = 0; i < 9; i++) controller.observe(outcome(4, 1));
    expect(controller.plan().draftLength).toBe(1);
    expect(new HeuristicController({ exitLayer: 2, draftLength: 9, maxDraftLength: 8 }).plan().draftLength).toBe(8);
  });

  test("a round that was cut short counts by the drafts it made", () => {
    const controller = make();
    controller.observe(outcome(2, 2, 4));
    expect(controller.plan().draftLength).toBe(6);
    controller.observe(outcome(0, 0, 6));
    expect(controller.plan().draftLength).toBe(6);
  });
});

describe("Thompson sampling", () => {
  const make = (seed: number, acceptance?: number) =>
    new ThompsonController({ exitLayer: 2, maxDraftLength: 8, seed, ...(acceptance && { acceptance }) });

  test("is repeatable by its seed and stays between one and the maximum", () => {
    const drawn = lengths(make(5), 200);
    expect(lengths(make(5), 200)).toEqual(drawn);
    expect(lengths(make(6), 200)).not.toEqual(drawn);
    expect(Math.min(...drawn)).toBe(1);
    expect(Math.max(...drawn)).toBe(8);
  });

  test("drafts as long as acceptance lets it expect: 1 / (1 - a) on average", () => {
    const mean = (accepted: number, drafted: number) => {
      const controller = make(1);
      for (let i = 0; i < 200; i++) controller.observe(outcome(drafted, accepted));
      return lengths(controller, 500).reduce((sum, length) => sum + length, 0) / 500;
    };
    expect(mean(0, 4)).toBeLessThan(1.1);
    expect(Math.abs(mean(1, 4) - 2)).toBeLessThan(0.3); // one accepted, one refused: a = 1/2; those behind it are unknown
    expect(mean(4, 4)).toBeGreaterThan(7.8);
  });

  test("begins with the acceptance that it is given", () => {
    const mean = (acceptance: number) =>
      lengths(make(1, acceptance), 500).reduce((sum, length) => sum + length, 0) / 500;
    expect(mean(0.9)).toBeGreaterThan(mean(0.5) + 1);
  });
});
