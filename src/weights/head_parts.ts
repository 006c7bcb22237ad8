/**
 * The embedding and the head in parts: a matrix as wide as the vocabulary can exceed what one binding may hold (128 MiB by
 * WebGPU's defaults), so it is cut into runs of vocabulary ids.
 */

import { scaleBytes, type WeightFormat, weightBytes } from "../kernels/weight_format.ts";

/** Parts begin at multiples of this many ids. */
export const PART_STEP = 1024;

/** A run of vocabulary ids: the columns of one part. */
export interface IdRun {
  first: number;
  count: number;
}

/** As few parts as `bindingBytes` admits, all but the last of the same size. */
export function headParts(format: WeightFormat, inputSize: number, vocabSize: number, bindingBytes: number): IdRun[] {
  const fits = (columns: number) =>
    Math.max(weightBytes(format, inputSize, columns), scaleBytes(format, inputSize, columns)) <= bindingBytes;
  if (fits(vocabSize)) return [{ first: 0, count: vocabSize }];
  let size = PART_STEP; // where not even these fit, allocating them says so
  while (fits(size + PART_STEP)) size += PART_STEP;
  // As even as the steps admit: the last part takes as long as the others.
  const parts = Math.ceil(vocabSize / size);
  const even = Math.ceil(vocabSize / parts / PART_STEP) * PART_STEP;
  const runs: IdRun[] = [];
  for (let first = 0; first < vocabSize; first += even) {
    runs.push({ first, count: Math.min(even, vocabSize - first) });
  }
  return runs;
}
