import { describe, expect, test } from "vitest";
import { Governor } from "../../../src/decode/controllers/governor.ts";
import { Prices } from "../../../src/decode/controllers/prices.ts";
import { plainPlan, type RoundOutcome, type RoundPlan } from "../../../src/decode/plan.ts";
import { calibrated, costOn, GPU, SMALL, SOFTWARE, type TestDevice, timed } from "./devices.ts";

const EXITS = [1, 2, 3, 4];

/** In a text whose first plain round took as long as was expected. */
function make({ device = GPU, prices = pricesOf(device) }: { device?: TestDevice; prices?: Prices } = {}): Governor {
  const draftLengths = [1, 2, 3, 4, 6, 8];
  const governor = new Governor({ layers: 5, exitLayers: EXITS, draftLengths, prices, acceptance: 0.6 });
  if (prices.measured(plainPlan(5)) > 0) governor.observe(played(plainPlan(5), true, device));
  return governor;
}

/** @param factor how much longer plain decoding took when it was priced than it takes now */
function pricesOf(device: TestDevice, factor = 1): Prices {
  const exact = costOn(device, SMALL);
  const cost = (plan: RoundPlan) => (plan.draftLength === 0 ? factor : 1) * exact(plan);
  const prices = calibrated(SMALL, EXITS, cost);
  for (let i = 0; i < 4; i++) prices.observe(timed(plainPlan(5), cost(plainPlan(5))));
  return prices;
}

/** A round of which every draft was accepted, or none. */
function played(plan: RoundPlan, areAccepted: boolean, device = GPU): RoundOutcome {
  return { ...timed(plan, costOn(device, SMALL)(plan)), accepted: areAccepted ? plan.draftLength : 0 };
}

describe("the governor", () => {
  test("says what it compared and why it chose", () => {
    const governor = make();
    expect(governor.decision).toBeUndefined();
    const plan = governor.plan();
    const { decision } = governor;
    expect(decision!.plan).toBe(plan);
    expect(decision!.reason).toBe("best");
    expect(decision!.prices).toHaveLength(1 + 4 * 6);
    expect(decision!.prices[0]).toMatchObject({ ...plainPlan(5), tokens: 1 });
    const rates = decision!.prices.map(({ tokens, milliseconds }) => tokens / milliseconds);
    const chosen = decision!.prices.findIndex(
      ({ exitLayer, draftLength }) => exitLayer === plan.exitLayer && draftLength === plan.draftLength,
    );
    expect(rates[chosen]).toBe(Math.max(...rates));
  });

  test("times plain decoding before it compares anything with it", () => {
    const cost = costOn(GPU, SMALL);
    const prices = new Prices(SMALL);
    const governor = make({ prices });
    const observe = (milliseconds: number | undefined) => {
      const plan = governor.plan();
      expect(plan).toEqual(plainPlan(5));
      prices.observe(timed(plan, milliseconds));
      governor.observe(timed(plan, milliseconds));
    };
    // A round that nobody could time tells nothing.
    for (let round = 0; round < 5; round++) observe(undefined);
    for (let round = 0; round < 3; round++) observe(cost(plainPlan(5)));
    expect(governor.plan().draftLength).toBeGreaterThan(0);
  });

  test.each([0.4, 3])(
    "goes by what plain decoding takes in this text, not by what it took: %d times as long",
    (factor) => {
      const governor = make({ device: SOFTWARE, prices: pricesOf(SOFTWARE, factor) });
      let steps = 0;
      for (let round = 0; round < 250; round++) {
        const plan = governor.plan();
        steps += costOn(SOFTWARE, SMALL)(plan) / costOn(SOFTWARE, SMALL)(plainPlan(5));
        governor.observe(played(plan, false, SOFTWARE));
      }
      expect(steps).toBeLessThan(1.04 * 250);
    },
  );

  test("plans no round of more than 200 ms", () => {
    const governor = make({ prices: pricesOf(GPU, 60), device: { name: "slow", overhead: 18, furtherRow: 0.02 } });
    for (let round = 0; round < 20; round++) {
      governor.plan();
      for (const { draftLength, milliseconds } of governor.decision!.prices) {
        if (draftLength > 0) expect(milliseconds).toBeLessThanOrEqual(200);
      }
    }
  });

  test("drafts longer as drafts are accepted", () => {
    const governor = make();
    const first = governor.plan().draftLength;
    governor.observe(played(governor.decision!.plan, true));
    for (let round = 0; round < 60; round++) governor.observe(played(governor.plan(), true));
    expect(governor.plan().draftLength).toBeGreaterThan(first + 1);
  });

  test("gives up a drafter that fails, and probes it ever more seldom with one draft, one probe at a time", () => {
    const governor = make();
    const probes: number[] = [];
    let unreported = governor.plan();
    for (let round = 1; round < 2000; round++) {
      const plan = governor.plan();
      if (governor.decision!.reason === "probe" && plan.draftLength > 0) probes.push(round);
      if (governor.decision!.reason === "probe") expect(plan.draftLength).toBeLessThanOrEqual(1);
      governor.observe(played(unreported, false));
      unreported = plan;
    }
    expect(governor.plan()).toEqual(plainPlan(5));
    const waits = probes.slice(1).map((round, i) => round - probes[i]!);
    expect(Math.min(...waits)).toBeGreaterThan(1);
    expect(Math.min(...waits.slice(-5))).toBeGreaterThan(60);
  });

  test("sends no second probe before the first is reported", () => {
    const governor = make();
    for (let round = 0; round < 50; round++) governor.observe(played(governor.plan(), true));
    for (let i = 0; i < 500 && governor.plan().draftLength > 0; i++)
      governor.observe(played(governor.decision!.plan, false));
    const reasons = Array.from({ length: 200 }, () => {
      governor.plan();
      return governor.decision!.reason;
    });
    expect(reasons.filter((reason) => reason === "probe")).toHaveLength(1);
  });

  test("gives drafting up when it stops to pay, and takes it up in the round after a probe that works", () => {
    const governor = make();
    for (let round = 0; round < 200; round++) governor.observe(played(governor.plan(), true));
    let rounds = 0;
    for (; rounds < 500 && governor.plan().draftLength > 0; rounds++)
      governor.observe(played(governor.decision!.plan, false));
    expect(rounds).toBeLessThan(12);
    for (let round = 0; round < 100; round++) governor.observe(played(governor.plan(), false));
    for (let i = 0; i < 500 && governor.decision!.reason !== "probe"; i++)
      governor.observe(played(governor.plan(), true));
    governor.observe(played(governor.decision!.plan, true));
    governor.plan();
    expect(governor.decision!.reason).toBe("best");
  });

  test("takes drafting up again when a probe works", () => {
    const governor = make();
    for (let round = 0; round < 100; round++) governor.observe(played(governor.plan(), false));
    const rounds = Array.from({ length: 200 }, () => {
      governor.observe(played(governor.plan(), true));
      return governor.decision!.reason;
    });
    expect(rounds).toContain("plain");
    expect(rounds.slice(-20).filter((reason) => reason === "best").length).toBeGreaterThan(15);
  });

  test("does not even probe where no acceptance would make drafting pay", () => {
    const device = { name: "slow rows", overhead: 0, furtherRow: 3 };
    const governor = make({ device });
    for (let round = 0; round < 300; round++) {
      const plan = governor.plan();
      expect(plan).toEqual(plainPlan(5));
      governor.observe(played(plan, true, device));
    }
  });

  test("drafts shorter where rows cost", () => {
    const settled = (device: TestDevice) => {
      const governor = make({ device });
      for (let round = 0; round < 100; round++) governor.observe(played(governor.plan(), true, device));
      return governor.plan().draftLength;
    };
    expect(settled(SOFTWARE)).toBeLessThanOrEqual(settled(GPU));
  });
});
