import { describe, expect, test } from "vitest";
import { ConfidenceController } from "../../../src/decode/controllers/confidence.ts";
import { ConfidenceThreshold } from "../../../src/decode/controllers/confidence_threshold.ts";
import type { RoundOutcome } from "../../../src/decode/plan.ts";

function outcome(probabilities: readonly number[], accepted: number, drafted = probabilities.length): RoundOutcome {
  return { plan: { exitLayer: 2, draftLength: 8 }, drafted, accepted, probabilities, shadows: [], milliseconds: 1 };
}

describe("confidence threshold", () => {
  test("lies between the means of accepted and of refused drafts", () => {
    const threshold = new ConfidenceThreshold();
    for (let i = 0; i < 50; i++) threshold.observe(outcome([0.9, 0.8, 0.3], 2));
    expect(threshold.value).toBeCloseTo((0.85 + 0.3) / 2, 2);
  });

  test("is a constant until both kinds were seen", () => {
    const threshold = new ConfidenceThreshold();
    const first = threshold.value;
    threshold.observe(outcome([0.9], 1));
    threshold.observe(outcome([], 0, 3)); // not computed
    expect(threshold.value).toBe(first);
    threshold.observe(outcome([0.1], 0));
    expect(threshold.value).toBeCloseTo(0.5, 6);
  });

  test("takes no draft behind the first refused one for an observation", () => {
    const [one, two] = [new ConfidenceThreshold(), new ConfidenceThreshold()];
    one.observe(outcome([0.9, 0.2, 0.99, 0.98], 1));
    two.observe(outcome([0.9, 0.2], 1));
    expect(one.value).toBe(two.value);
  });

  test("forgets what a text was like", () => {
    const threshold = new ConfidenceThreshold();
    for (let i = 0; i < 100; i++) threshold.observe(outcome([0.9, 0.7], 1));
    for (let i = 0; i < 100; i++) threshold.observe(outcome([0.5, 0.1], 1));
    expect(threshold.value).toBeCloseTo(0.3, 1);
  });
});

describe("confidence stop", () => {
  test("drafts up to the maximum while drafts are at least as probable as the threshold", () => {
    const controller = new ConfidenceController({ exitLayer: 2, maxDraftLength: 6 });
    expect(controller.plan()).toEqual({ exitLayer: 2, draftLength: 6, leastProbability: 0.4 });
    controller.observe(outcome([0.8, 0.6], 1));
    expect(controller.plan().leastProbability).toBeCloseTo(0.7, 6);
  });
});
