/**
 * What a token costs by its position: plain steps at several positions in turn, the line through their medians, and its
 * slope against what attention's share should cost.
 *
 * A step at position p attends to p + 1 keys; all else is the same at every position. So the slope is attention's, and it
 * is good where its operations run at the rate of the matmuls of the same run (a software adapter, which computes), or its
 * keys and values are read at the rate of the matmuls' weights (a GPU, which reads).
 */

import type { Device } from "../../src/gpu/device.ts";
import { KV_BYTES, type KvType } from "../../src/kernels/kv_format.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import type { Dtype } from "../../src/types.ts";
import { syntheticModel } from "../synthetic.ts";
import { CaseBuilder } from "./cases.ts";
import { chosenKernels } from "./chosen.ts";
import { BENCH_SHAPES, type BenchShape, PRODUCTS } from "./names.ts";
import { PlainSteps, STEP_ROOM } from "./plain_steps.ts";
import { leastBytes, ShapeData } from "./shape_data.ts";
import { type Line, leastSquares, median, type Spread, spread } from "./statistics.ts";
import { inTurn, type Measure, net, Stopwatch } from "./timing.ts";

/** Milliseconds that the steps of one measurement take together, unless they would be too many. */
const LEAST_MS = 20;
const MOST_STEPS = 32;

export interface PositionsOptions {
  shape: BenchShape;
  dtype: Dtype;
  /** Positions of the token that goes through the layers, at least two. */
  positions: readonly number[];
  repetitions: number;
}

export interface PositionRow {
  position: number;
  /** Milliseconds a token. */
  ms: Spread;
  /** Median over what the line says, less 1. */
  offLine: number;
}

/** Attention's share of a token's cost, counted. */
export interface AttentionCost {
  unit: "operations" | "bytes";
  /** Units of one position more, in all layers. */
  perPosition: number;
  /** 10^9 units a second (GFLOP/s, GB/s) of a layer's products with one row. */
  matmulRate: Spread;
  /** Milliseconds a position at that rate. */
  msPerPosition: number;
}

export interface PositionsResult {
  rows: PositionRow[];
  /** Milliseconds by position. */
  line: Line;
  /** The largest of the rows' `offLine`, without its sign. */
  largestDeviation: number;
  attention: AttentionCost;
  /** Slope over `attention.msPerPosition`: 1 where attention is as good as the matmuls. */
  slopeRatio: number;
}

/** Floating-point operations, or bytes, that one position more costs a token, in all layers. */
export function attentionPerPosition(
  { layers, heads, kvHeads, headDim }: ModelSpec,
  unit: AttentionCost["unit"],
  kv: KvType,
): number {
  // Scores and sums of values, a multiplication and an addition each; keys and values.
  return layers * headDim * (unit === "operations" ? 4 * heads : 2 * kvHeads * KV_BYTES[kv]);
}

/** Runs the measurement. Every buffer of the device is released in the end. */
export async function benchPositions(
  device: Device,
  options: PositionsOptions,
  onProgress: (done: string) => void = () => {},
): Promise<PositionsResult> {
  try {
    return await measure(device, options, onProgress);
  } finally {
    device.ledger.releaseAll();
  }
}

async function measure(
  device: Device,
  { shape, dtype, positions, repetitions }: PositionsOptions,
  onProgress: (done: string) => void,
): Promise<PositionsResult> {
  const spec = BENCH_SHAPES[shape];
  const { kernels } = await chosenKernels(device, spec, dtype);
  const contextLength = Math.max(...positions) + STEP_ROOM;
  const bytes = leastBytes(spec, dtype, spec.layers);
  const { model, builder, products } = await device.allocating(`${shape} in ${dtype}`, bytes, () => {
    const data = new ShapeData(device, spec, { dtype, rows: [1], choices: [kernels] });
    const cases = new CaseBuilder(device, data, kernels, [1]);
    return {
      model: syntheticModel(device, spec, { dtype, kernels, contextLength }),
      builder: cases,
      products: cases.build(PRODUCTS),
    };
  });
  const steps = new PlainSteps(model, contextLength);
  await steps.prepare();
  await builder.prepare();

  const stopwatch = new Stopwatch(device);
  const calls: number[] = [];
  for (const product of products) calls.push(await stopwatch.callsFor(product));
  await steps.time(positions); // warms
  const count = Math.min(MOST_STEPS, Math.ceil(LEAST_MS / (await steps.time(positions.slice(0, 1)))));
  const measures: Measure[] = [
    () => stopwatch.nothing(),
    ...positions.map((position) => async () => (await steps.time(Array(count).fill(position))) / count),
    ...products.map((product, i) => async () => (await stopwatch.time(product, calls[i]!)).ms),
  ];
  const [empty = [], ...results] = await inTurn(measures, repetitions, (done) =>
    onProgress(`${shape}: repetition ${done} of ${repetitions}`),
  );

  const unit = device.info.software ? "operations" : "bytes";
  const emptyMs = median(empty);
  const productMs = results.slice(positions.length);
  const units = products.reduce((sum, product) => sum + product[unit], 0);
  // The products of each repetition together, as they make up a layer.
  const rates = empty.map(
    (_, r) => units / productMs.reduce((sum, ms, i) => sum + net(ms[r]!, emptyMs) / calls[i]!, 0),
  );
  return evaluate(positions, results.slice(0, positions.length), {
    unit,
    perPosition: attentionPerPosition(spec, unit, kernels.kv),
    // Units a millisecond, in 10^9 a second.
    matmulRate: spread(rates.map((rate) => rate / 1e6)),
  });
}

/**
 * What the measurements say.
 * @param ms milliseconds a token, by position and repetition
 */
export function evaluate(
  positions: readonly number[],
  ms: readonly (readonly number[])[],
  cost: Omit<AttentionCost, "msPerPosition">,
): PositionsResult {
  const spreads = ms.map(spread);
  const line = leastSquares(positions.map((x, i) => ({ x, y: spreads[i]!.median })));
  const rows = positions.map((position, i): PositionRow => {
    const expected = line.intercept + line.slope * position;
    return { position, ms: spreads[i]!, offLine: spreads[i]!.median / expected - 1 };
  });
  const msPerPosition = cost.perPosition / cost.matmulRate.median / 1e6;
  return {
    rows,
    line,
    largestDeviation: Math.max(...rows.map(({ offLine }) => Math.abs(offLine))),
    attention: { ...cost, msPerPosition },
    slopeRatio: line.slope / msPerPosition,
  };
}
