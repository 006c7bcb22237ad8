/**
 * `layerleap bench kernels`, `bench positions` and `bench prefill`: what kernels, a token at a position and a prompt take on
 * this device, for models' shapes with random weights.
 *
 * Each checks its flags at once and returns what computes: a wrong call needs neither a GPU nor the engine.
 */

import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { parseSettings, type Settings, settingsText } from "../../bench/kernels/choice_settings.ts";
import { BENCH_SHAPES, type BenchShape, KERNELS } from "../../bench/kernels/names.ts";
import type { ReportHead } from "../../bench/kernels/report.ts";
import type { KernelBenchOptions } from "../../bench/kernels.ts";
import type { Device } from "../gpu/device.ts";
import { ROW_CAPACITY } from "../kernels/constants.ts";
import type { Dtype } from "../types.ts";
import { EXIT, faint, note, write } from "./output.ts";
import { FailureError, UsageError } from "./report.ts";

interface BenchFlags {
  dtype: Dtype;
  repetitions: number;
  json?: boolean;
}

export interface BenchKernelsFlags extends BenchFlags {
  shapes: string;
  rows?: number[];
  only?: string;
  compare?: string;
}

export interface BenchPositionsFlags extends BenchFlags {
  shape: string;
  positions?: number[];
  plot?: string;
}

export interface BenchPrefillFlags extends BenchFlags {
  shape: string;
  tokens: number;
}

/** What is measured where nothing is said. Five rows: a draft of four, as LayerSkip's authors have it. */
const ROWS = [1, 2, 4, 5, 8];
const POSITIONS = [100, 500, 1000, 2000, 4000];

/** Prints how far a run is. */
const progress = (done: string) => note(faint(done));

/** The best adapter, opened and in the end released. */
async function withDevice(run: (device: Device) => Promise<number>): Promise<number> {
  const { Device } = await import("../gpu/device.ts");
  const { defaultGpu, gpuBackend, noAdapterAdvice } = await import("#platform");
  const device = await Device.open(await defaultGpu(), gpuBackend(), noAdapterAdvice);
  try {
    return await run(device);
  } finally {
    device.dispose();
  }
}

/** Prints a result: as JSON with what it was measured with, or as a report. */
async function print({ json }: BenchFlags, head: ReportHead, result: object, report: () => string): Promise<number> {
  await write(json ? `${JSON.stringify({ ...head, ...result }, undefined, 2)}\n` : report());
  return EXIT.success;
}

/** @throws UsageError for flags that make no sense */
export function kernels(flags: BenchKernelsFlags): () => Promise<number> {
  const { dtype, repetitions } = flags;
  const options: KernelBenchOptions = {
    dtype,
    repetitions,
    shapes: known("--shapes", flags.shapes, SHAPE_NAMES),
    rows: numbers("--rows", flags.rows ?? ROWS, 1, ROW_CAPACITY),
    kernels: flags.only === undefined ? undefined : known("--only", flags.only, KERNELS),
  };
  const pair = flags.compare === undefined ? undefined : pairOf(flags.compare);
  return () =>
    withDevice(async (device) => {
      const bench = await import("../../bench/kernels.ts");
      const reports = await import("../../bench/kernels/report.ts");
      const head = { device: device.info, dtype, repetitions };
      if (!pair) {
        const shapes = await bench.benchKernels(device, options, progress);
        return print(flags, head, { shapes }, () => reports.kernelsReport(head, shapes));
      }
      const shapes = await bench.compareKernels(device, options, pair, progress);
      const [a, b] = [settingsText(pair[0]), settingsText(pair[1])] as const;
      return print(flags, head, { a, b, shapes }, () => reports.comparisonReport(head, [a, b], shapes));
    });
}

/** @throws UsageError for flags that make no sense, FailureError where the plot cannot be written */
export function positions(flags: BenchPositionsFlags): () => Promise<number> {
  const { dtype, repetitions, plot } = flags;
  const shape = one("--shape", flags.shape, SHAPE_NAMES);
  const wanted = numbers("--positions", flags.positions ?? POSITIONS, 1, MOST_POSITION);
  if (wanted.length < 2) {
    throw new UsageError(
      `--positions: found ${wanted.join()} alone, expected two positions at least: a line needs them`,
    );
  }
  if (plot !== undefined && !existsSync(dirname(resolve(plot)))) {
    throw new FailureError(`--plot ${plot}: there is no folder ${dirname(resolve(plot))}: check the path`);
  }
  return () =>
    withDevice(async (device) => {
      const { benchPositions } = await import("../../bench/kernels/positions.ts");
      const { positionsPlot, positionsReport } = await import("../../bench/kernels/positions_report.ts");
      const head = { device: device.info, dtype, repetitions };
      const result = await benchPositions(device, { shape, dtype, positions: wanted, repetitions }, progress);
      if (plot !== undefined) await save("--plot", plot, positionsPlot(head, shape, result));
      return print(flags, head, { shape, ...result }, () => positionsReport(head, shape, result));
    });
}

/** @throws UsageError for flags that make no sense */
export function prefill(flags: BenchPrefillFlags): () => Promise<number> {
  const { dtype, repetitions } = flags;
  const shape = one("--shape", flags.shape, SHAPE_NAMES);
  const [tokens = 1] = numbers("--tokens", [flags.tokens], 1, MOST_POSITION);
  return () =>
    withDevice(async (device) => {
      const { benchPrefill } = await import("../../bench/kernels/prefill.ts");
      const { prefillReport } = await import("../../bench/kernels/prefill_report.ts");
      const head = { device: device.info, dtype, repetitions };
      const result = await benchPrefill(device, { shape, dtype, tokens, repetitions }, progress);
      return print(flags, head, { shape, ...result }, () => prefillReport(head, shape, result));
    });
}

const SHAPE_NAMES = Object.keys(BENCH_SHAPES) as BenchShape[];

/** More than any model's context; a device refuses much less. */
const MOST_POSITION = 2 ** 20;

/** Names with commas between them, each once, in the order of `names`. */
function known<T extends string>(option: string, text: string, names: readonly T[]): T[] {
  const wanted = text.split(",").map((name) => one(option, name.trim(), names));
  return names.filter((name) => wanted.includes(name));
}

function one<T extends string>(option: string, name: string, names: readonly T[]): T {
  const found = names.find((candidate) => candidate === name);
  if (found === undefined) throw new UsageError(`${option}: found ${name || "nothing"}, expected ${names.join(", ")}`);
  return found;
}

/** Numbers in ascending order, each once. */
function numbers(option: string, values: readonly number[], least: number, most: number): number[] {
  const wrong = values.find((value) => value < least || value > most);
  if (wrong !== undefined) {
    throw new UsageError(`${option}: found ${wrong}, expected whole numbers from ${least} to ${most}`);
  }
  return [...new Set(values)].sort((a, b) => a - b);
}

/** The two sides of `--compare`. */
function pairOf(text: string): [Settings, Settings] {
  const sides = text.split(",");
  const [a, b] = sides;
  if (a === undefined || b === undefined || sides.length !== 2) {
    const expected = "two with a comma between them, as in fewRows=thread,fewRows=workgroup:8";
    throw new UsageError(
      `--compare: found ${sides.length === 1 ? "one setting" : `${sides.length} settings`}, expected ${expected}`,
    );
  }
  try {
    return [parseSettings(a), parseSettings(b)];
  } catch (error) {
    throw new UsageError(`--compare: ${error instanceof Error ? error.message : error}`);
  }
}

async function save(option: string, file: string, text: string): Promise<void> {
  try {
    await writeFile(file, text);
  } catch (cause) {
    throw new FailureError(`${option} ${file}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
