/** What `bench kernels` prints. */

import type { DeviceInfo } from "../../src/gpu/device_info.ts";
import type { CaseName, KernelRow, ShapeComparison, ShapeResult } from "../kernels.ts";
import type { Growth } from "./growth.ts";
import { columns, deviceLine, digits, percent, percentRange, ratioRange, table } from "./markdown.ts";

/** What a report begins with. */
export interface ReportHead {
  device: DeviceInfo;
  dtype: string;
  repetitions: number;
}

/** Times and fractions of each kernel of each shape. */
export function kernelsReport(head: ReportHead, results: readonly ShapeResult[]): string {
  return [
    deviceLine(head.device),
    `Weights: ${head.dtype}. Medians of ${head.repetitions}, all in turn.`,
    "",
    ...results.flatMap((result) => shapeLines(result, head.device)),
  ].join("\n");
}

function shapeLines(
  { shape, choice, warnings, ceilings, emptyMs, kernels, growth }: ShapeResult,
  { software }: DeviceInfo,
): string[] {
  const { copy, read, fma } = ceilings;
  return [
    `### ${shape}`,
    "",
    `Kernels: ${choice}.`,
    ...warnings.map((warning) => `Warning: ${warning}.`),
    `Copy ${digits(copy.rate.median)} GB/s (read and written; ${copy.sizes}), read ${digits(read.rate.median)} GB/s ` +
      `(${read.sizes}), multiply and add ${digits(fma.rate.median)} GFLOP/s (${fma.sizes}); ` +
      `a submission of nothing ${digits(emptyMs)} ms.`,
    workingSetLine(kernels, software),
    "",
    ...(growth.length > 0 ? [...growthLines(growth), ""] : []),
    ...table(
      columns(
        "kernel",
        "rows:",
        "us:",
        "GB/s:",
        "GFLOP/s:",
        "of copy:",
        "(range)",
        "of read:",
        "of multiply-add:",
        "(range)",
      ),
      kernels.map((row) => [
        caseName(row),
        String(row.rows),
        digits(1000 * row.ms),
        digits(row.gbPerSecond),
        digits(row.gflopPerSecond),
        percent(row.ofCopy.median),
        percentRange(row.ofCopy),
        percent(row.ofRead.median),
        percent(row.ofFma.median),
        percentRange(row.ofFma),
      ]),
    ),
    "",
  ];
}

function workingSetLine(kernels: readonly KernelRow[], software: boolean): string {
  if (software) return "One copy of each matrix, which may stay in the CPU's caches.";
  const streams = kernels.filter(({ kernel }) => kernel !== "norm" && kernel !== "embedding");
  const least = Math.min(...streams.map(({ workingSetBytes }) => workingSetBytes));
  if (streams.length === 0) return "No kernel that reads a matrix.";
  return `Calls go through copies of their matrix, ${digits(least / 2 ** 20)} MiB or more, to get past the caches.`;
}

/** What verifying drafts lives on: the time of more rows over that of the fewest, and how near those are to the ceiling. */
function growthLines(growth: readonly Growth[]): string[] {
  const [{ rows: fewest, overFewest }] = growth as [Growth, ...Growth[]];
  const one = `${fewest} ${fewest === 1 ? "row" : "rows"}`;
  const more = overFewest.map(({ rows }) => rows);
  return table(
    columns(
      "matmul",
      `${one}, of copy:`,
      "(range)",
      `${one}, of read:`,
      ...more.flatMap((rows) => [`${rows} rows / ${one}:`, "(range)"]),
    ),
    growth.map(({ kernel, ofCopy, ofRead, overFewest: ratios }) => [
      kernel === "layer" ? "the layer's four" : kernel,
      percent(ofCopy.median),
      percentRange(ofCopy),
      percent(ofRead.median),
      ...ratios.flatMap(({ ratio }) => [ratio.median.toFixed(2), ratioRange(ratio)]),
    ]),
  );
}

/** Times of two choices in pairs. */
export function comparisonReport(
  { device, dtype, repetitions }: ReportHead,
  [a, b]: readonly [string, string],
  results: readonly ShapeComparison[],
): string {
  return [
    deviceLine(device),
    `Weights: ${dtype}. A: ${a}; B: ${b}. Medians of ${repetitions} pairs, A then B; A / B above 1: B is faster.`,
    "",
    ...results.flatMap(({ shape, rows }) => [
      `### ${shape}`,
      "",
      ...table(
        columns("kernel", "rows:", "A us:", "B us:", "A / B:", "(range)"),
        rows.map((row) => [
          caseName(row),
          String(row.rows),
          digits(1000 * row.msA),
          digits(1000 * row.msB),
          row.ratio.median.toFixed(2),
          ratioRange(row.ratio),
        ]),
      ),
      "",
    ]),
  ].join("\n");
}

function caseName({ kernel, position }: CaseName): string {
  return position === undefined ? kernel : `${kernel} at ${position}`;
}
