/**
 * What each kernel takes on this device, as a fraction of what the device reaches at best; and two variants in pairs.
 *
 * A shape's cases and the ceilings are measured in turn: each repetition times every one of them once, so what else the
 * machine does falls on all. Ratios are of the same repetition; their median and range are told.
 */

import type { Device } from "../src/gpu/device.ts";
import type { KernelChoice } from "../src/kernels/choice.ts";
import type { Dtype } from "../src/types.ts";
import { CaseBuilder, type KernelCase } from "./kernels/cases.ts";
import { bestOf, type Ceiling, type CeilingName, fractionsOf, prepareCeilings } from "./kernels/ceilings.ts";
import { kernelsBetween, type Settings, settingsText } from "./kernels/choice_settings.ts";
import { chosenKernels } from "./kernels/chosen.ts";
import { type Growth, growthOf } from "./kernels/growth.ts";
import { BENCH_SHAPES, type BenchShape, KERNELS, type KernelName } from "./kernels/names.ts";
import { leastBytes, ShapeData } from "./kernels/shape_data.ts";
import { median, pairwise, type Spread, spread } from "./kernels/statistics.ts";
import { interleave, Stopwatch, type Times } from "./kernels/timing.ts";

export interface KernelBenchOptions {
  dtype: Dtype;
  shapes: readonly BenchShape[];
  /** Numbers of generated rows, ascending. */
  rows: readonly number[];
  repetitions: number;
  /** Default: all; in a comparison those on which the two differ, or all where they do not. */
  kernels?: readonly KernelName[] | undefined;
}

/** What a line of a table is about. */
export interface CaseName {
  kernel: KernelName;
  rows: number;
  /** Position of the first row, where the time depends on it. */
  position?: number;
}

export interface KernelRow extends CaseName {
  /** Calls a submission. */
  calls: number;
  /** Median milliseconds a call. */
  ms: number;
  /** What a call must move and compute. */
  bytes: number;
  operations: number;
  gbPerSecond: number;
  gflopPerSecond: number;
  /** Fractions of the ceilings. */
  ofCopy: Spread;
  ofRead: Spread;
  ofFma: Spread;
  /** Bytes that the calls go through before they meet the same ones again. */
  workingSetBytes: number;
}

export interface ShapeResult {
  shape: BenchShape;
  /** The kernels' variants, as `parseSettings` reads them. */
  choice: string;
  /** What had to be dropped for them. */
  warnings: string[];
  ceilings: Record<CeilingName, Omit<Ceiling, "rates">>;
  /** Milliseconds of a submission of nothing, which is taken off every time. */
  emptyMs: number;
  kernels: KernelRow[];
  growth: Growth[];
}

export interface ComparisonRow extends CaseName {
  /** Median milliseconds a call. */
  msA: number;
  msB: number;
  /** Time of A over time of B, pair by pair: above 1 where B is faster. */
  ratio: Spread;
}

export interface ShapeComparison {
  shape: BenchShape;
  emptyMs: number;
  rows: ComparisonRow[];
}

/** Hears how far a run is. */
export type OnProgress = (done: string) => void;

/** Measures the kernels that a model gets on this device. Every buffer of the device is released in the end. */
export async function benchKernels(
  device: Device,
  options: KernelBenchOptions,
  onProgress: OnProgress = () => {},
): Promise<ShapeResult[]> {
  const { dtype, repetitions, kernels = KERNELS } = options;
  return eachShape(device, options, async (shape) => {
    const { kernels: choice, warnings } = await chosenKernels(device, BENCH_SHAPES[shape], dtype);
    const [cases = []] = await prepareCases(device, shape, options, kernels, [choice]);
    const attempts = await prepareCeilings(device);
    const stopwatch = new Stopwatch(device);
    const { times, emptyMs } = await interleave(stopwatch, [...attempts, ...cases], repetitions, (done) =>
      onProgress(`${shape}: repetition ${done} of ${repetitions}`),
    );
    const ceilings = bestOf(attempts, times);
    const caseTimes = times.slice(attempts.length);
    return {
      shape,
      choice: settingsText(choice),
      warnings,
      ceilings: { copy: shown(ceilings.copy), read: shown(ceilings.read), fma: shown(ceilings.fma) },
      emptyMs,
      kernels: cases.map((one, i) => rowOf(one, caseTimes[i]!, ceilings)),
      growth: growthOf(cases, caseTimes, ceilings),
    };
  });
}

/**
 * Times two choices in pairs, A then B of each case. Every buffer of the device is released in the end.
 * @throws GpuError when one of them does not compute right here
 */
export async function compareKernels(
  device: Device,
  options: KernelBenchOptions,
  pair: readonly [Settings, Settings],
  onProgress: OnProgress = () => {},
): Promise<ShapeComparison[]> {
  const { dtype, repetitions } = options;
  return eachShape(device, options, async (shape) => {
    const choose = async (settings: Settings) =>
      (await chosenKernels(device, BENCH_SHAPES[shape], dtype, settings)).kernels;
    const choices = [await choose(pair[0]), await choose(pair[1])] as const;
    const between = kernelsBetween(...choices);
    const kernels = options.kernels ?? (between.size > 0 ? KERNELS.filter((name) => between.has(name)) : KERNELS);
    const [a = [], b = []] = await prepareCases(device, shape, options, kernels, choices);
    const works = a.flatMap((one, i) => [one, b[i]!]);
    const { times, emptyMs } = await interleave(new Stopwatch(device), works, repetitions, (done) =>
      onProgress(`${shape}: repetition ${done} of ${repetitions}`),
    );
    const rows = a.map((one, i): ComparisonRow => {
      const [msA, msB] = [times[2 * i]!.ms, times[2 * i + 1]!.ms];
      const ratio = spread(pairwise(msA, msB, (x, y) => x / y));
      return { ...nameOf(one), msA: median(msA), msB: median(msB), ratio };
    });
    return { shape, emptyMs, rows };
  });
}

/** Runs shape by shape and releases in between: two shapes at once need more memory than many devices have. */
async function eachShape<T>(
  device: Device,
  { shapes }: KernelBenchOptions,
  run: (shape: BenchShape) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  for (const shape of shapes) {
    try {
      results.push(await run(shape));
    } finally {
      device.ledger.releaseAll();
    }
  }
  return results;
}

/** The cases of each choice, over the same data, compiled. */
async function prepareCases(
  device: Device,
  shape: BenchShape,
  { dtype, rows }: KernelBenchOptions,
  kernels: readonly KernelName[],
  choices: readonly KernelChoice[],
): Promise<KernelCase[][]> {
  const spec = BENCH_SHAPES[shape];
  const built = await device.allocating(`${shape} in ${dtype}`, leastBytes(spec, dtype), () => {
    const data = new ShapeData(device, spec, { dtype, rows, choices });
    return choices.map((choice) => {
      const builder = new CaseBuilder(device, data, choice, rows);
      return { builder, cases: builder.build(kernels) };
    });
  });
  for (const { builder } of built) await builder.prepare();
  return built.map(({ cases }) => cases);
}

function rowOf(one: KernelCase, { calls, ms }: Times, { copy, read, fma }: Record<CeilingName, Ceiling>): KernelRow {
  const { bytes, operations, workingSetBytes } = one;
  // Amounts a millisecond, in units of 10^9 a second.
  const byteRates = ms.map((time) => bytes / time / 1e6);
  const operationRates = ms.map((time) => operations / time / 1e6);
  return {
    ...nameOf(one),
    calls,
    ms: median(ms),
    bytes,
    operations,
    gbPerSecond: median(byteRates),
    gflopPerSecond: median(operationRates),
    ofCopy: fractionsOf(copy, byteRates),
    ofRead: fractionsOf(read, byteRates),
    ofFma: fractionsOf(fma, operationRates),
    workingSetBytes,
  };
}

function nameOf({ kernel, rows, position }: KernelCase): CaseName {
  return { kernel, rows, ...(position !== undefined && { position }) };
}

function shown({ rate, sizes }: Ceiling): Omit<Ceiling, "rates"> {
  return { rate, sizes };
}
