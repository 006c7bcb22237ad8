/**
 * Matrices in parts: one as wide as the vocabulary, or gate and up together, can exceed what one binding may hold (128 MiB
 * by WebGPU's defaults). It is cut into runs of columns, since no sum reaches from one column to another.
 */

import { scaleBytes, type WeightFormat, weightBytes } from "../kernels/weight_format.ts";

/** Parts begin at multiples of this many columns. */
export const RUN_STEP = 1024;

/** Neighbouring columns: those of one part. */
export interface ColumnRun {
  first: number;
  count: number;
}

/**
 * As few runs as `bindingBytes` admits, all but the last of the same size.
 * @param width matrices that are cut alike, whose runs lie side by side in a part (gate and up: 2)
 */
export function columnRuns(
  format: WeightFormat,
  inputSize: number,
  columns: number,
  bindingBytes: number,
  width = 1,
): ColumnRun[] {
  const fits = (count: number) => {
    const [weights, scales] = [weightBytes, scaleBytes].map((bytes) => bytes(format, inputSize, width * count));
    const biases = 4 * width * count; // behind the scales, if there are any
    return Math.max(weights!, scales! + biases) <= bindingBytes;
  };
  if (fits(columns)) return [{ first: 0, count: columns }];
  let size = RUN_STEP; // where not even these fit, allocating them says so
  while (fits(size + RUN_STEP)) size += RUN_STEP;
  // As even as the steps admit: the last part takes as long as the others.
  const parts = Math.ceil(columns / size);
  const even = Math.ceil(columns / parts / RUN_STEP) * RUN_STEP;
  const runs: ColumnRun[] = [];
  for (let first = 0; first < columns; first += even) {
    runs.push({ first, count: Math.min(even, columns - first) });
  }
  return runs;
}
