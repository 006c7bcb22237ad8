/**
 * How much faster a prompt goes through the layers in chunks than token by token: the prefill of a prompt against as many
 * plain steps, in turn.
 *
 * All the steps would take long, so some are measured, spread evenly over the prompt's positions, and scaled up. A step's
 * cost is a line of its position (`bench positions`), so the mean of these is the mean of all.
 */

import type { Device } from "../../src/gpu/device.ts";
import type { Dtype } from "../../src/types.ts";
import { syntheticModel } from "../synthetic.ts";
import { chosenKernels } from "./chosen.ts";
import { BENCH_SHAPES, type BenchShape } from "./names.ts";
import { PlainSteps, STEP_ROOM } from "./plain_steps.ts";
import { leastBytes } from "./shape_data.ts";
import { pairwise, type Spread, spread } from "./statistics.ts";
import { inTurn } from "./timing.ts";

/** Plain steps that are measured in place of as many as the prompt has tokens. */
const MOST_STEPS = 8;

export interface PrefillOptions {
  shape: BenchShape;
  dtype: Dtype;
  /** Tokens of the prompt. */
  tokens: number;
  repetitions: number;
}

export interface PrefillResult {
  tokens: number;
  /** Steps measured. */
  steps: number;
  prefillMs: Spread;
  /** Milliseconds of one plain step. */
  stepMs: Spread;
  /** Time of `tokens` plain steps over the prefill's, pair by pair. */
  factor: Spread;
}

/** Positions of the steps that stand for all: the middles of equal parts of the prompt. */
export function stepPositions(tokens: number): number[] {
  const steps = Math.min(MOST_STEPS, tokens);
  return Array.from({ length: steps }, (_, i) => Math.floor(((i + 0.5) * tokens) / steps));
}

/** Runs the measurement. Every buffer of the device is released in the end. */
export async function benchPrefill(
  device: Device,
  { shape, dtype, tokens, repetitions }: PrefillOptions,
  onProgress: (done: string) => void = () => {},
): Promise<PrefillResult> {
  const spec = BENCH_SHAPES[shape];
  const { kernels } = await chosenKernels(device, spec, dtype);
  const contextLength = tokens + STEP_ROOM;
  try {
    const bytes = leastBytes(spec, dtype, spec.layers);
    const model = await device.allocating(`${shape} in ${dtype}`, bytes, () =>
      syntheticModel(device, spec, { dtype, kernels, contextLength }),
    );
    const steps = new PlainSteps(model, contextLength);
    await steps.prepare();
    const selection = (await model.scheduler.prepare([]))();
    const ids = Array.from({ length: tokens }, (_, i) => (i * 7919) % spec.vocabSize);
    const prefill = async () => {
      const begun = performance.now();
      model.scheduler.begin({ maxTokens: 1, contextLength, eosTokenIds: [] }, selection);
      await (await model.scheduler.prefill(ids, () => false))?.report;
      return performance.now() - begun;
    };
    const positions = stepPositions(tokens);
    // The first prefill finds out how much this device takes at a time, and both warm.
    await prefill();
    await steps.time(positions);
    const [prefillMs = [], stepsMs = []] = await inTurn([prefill, () => steps.time(positions)], repetitions, (done) =>
      onProgress(`${shape}: repetition ${done} of ${repetitions}`),
    );
    const stepMs = stepsMs.map((ms) => ms / positions.length);
    return {
      tokens,
      steps: positions.length,
      prefillMs: spread(prefillMs),
      stepMs: spread(stepMs),
      factor: spread(pairwise(stepMs, prefillMs, (step, all) => (tokens * step) / all)),
    };
  } finally {
    device.ledger.releaseAll();
  }
}
