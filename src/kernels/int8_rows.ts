/**
 * The host's twin of how the `int8` matmul quantises its rows (shaders/matmul/many_rows_int8.wgsl): each 32 elements get
 * codes -127..127 and a scale, largest magnitude / 127.
 */

import { isNormed } from "./matmul_form.ts";
import type { ProbeData } from "./matmul_probe.ts";
import { paddedSize } from "./weight_format.ts";

/** Elements that share a scale. */
export const INT8_BLOCK = 32;

const LARGEST = 127;

/** An element as the kernel sees it, and how near it was to the next code, in codes (0: a tie). */
export interface QuantisedElement {
  value: number;
  scale: number;
  margin: number;
}

/** Quantises a row, in float64. */
export function quantiseRow(row: ArrayLike<number>): QuantisedElement[] {
  return Array.from(row, (x, k) => {
    const scale = blockLargest(row, k) / LARGEST;
    if (scale === 0) return { value: 0, scale, margin: 0.5 };
    const exact = x / scale;
    const code = Math.round(exact);
    return { value: code * scale, scale, margin: 0.5 - Math.abs(exact - code) };
  });
}

/** The largest magnitude among the elements of k's block. */
function blockLargest(row: ArrayLike<number>, k: number): number {
  const begin = k - (k % INT8_BLOCK);
  const end = Math.min(begin + INT8_BLOCK, row.length);
  let largest = 0;
  for (let i = begin; i < end; i++) largest = Math.max(largest, Math.abs(row[i]!));
  return largest;
}

/**
 * A probe whose rows lose nothing by being quantised: whole multiples of a power of two, the largest of each block 127 of
 * them. What the `int8` kernel makes of it differs from plain arithmetic by roundings alone, as with any other kernel.
 */
export function exactInInt8(data: ProbeData): ProbeData {
  const { inputStride, size, kind, rows } = data;
  const input = Float32Array.from(data.input);
  for (let row = 0; row < rows; row++) {
    const begin = row * inputStride + (isNormed(kind) ? paddedSize(size.inputSize) : 0);
    const x = input.subarray(begin, begin + size.inputSize);
    const original = Float32Array.from(x);
    for (let k = 0; k < x.length; k++) {
      const largest = blockLargest(original, k);
      const unit = 2 ** Math.ceil(Math.log2(largest / LARGEST));
      const isLargest = Math.abs(original[k]!) === largest;
      x[k] = unit * (isLargest ? Math.sign(original[k]!) * LARGEST : Math.round(original[k]! / unit));
    }
  }
  return { ...data, input };
}
