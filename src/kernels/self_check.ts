/**
 * The self-check: does a matmul kernel compute right on this device? Drivers miscompile; a kernel that does not make of a
 * probe what plain arithmetic makes of it is dropped before it sees a weight of a model.
 *
 * The bound is derived: WGSL rounds each f32 operation to one of the two neighbours (2^-23 of the result at most) and lets
 * a compiler reorder, so a sum of n terms is off by at most about n * 2^-23 of the sum of their magnitudes.
 */

import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { RowSet } from "./kernel.ts";
import type { MatmulBinding, MatmulKind } from "./matmul_form.ts";
import { CHECK_SIZE, type ProbeData, probeData, runProbe } from "./matmul_probe.ts";
import { type Expected, outputNumbers, plainOutputs, plainProducts } from "./plain_matmul.ts";
import { isBlockFormat } from "./weight_format.ts";

type Words = Uint32Array<ArrayBuffer>;

/** A probe and how a kernel is given it. */
export interface Trial {
  data: ProbeData;
  /** Contents of the kernel's `Shape` uniform. */
  shape: Words;
  record(recorder: Recorder, buffers: Readonly<Record<MatmulBinding, GPUBuffer>>, rows: RowSet): void;
  /** `headArgmax`: the workgroup that an output belongs to. */
  groupOf?: (output: number) => number;
}

export interface Verdict {
  ok: boolean;
  /** The largest error as a fraction of its bound; infinite where a number is none or in a place it must not be in. */
  worst: number;
  /** Where that was, and what was found there. */
  where: string;
}

/** Rows of the probe that are tried: neither the first nor the last, so that writes beside them show. */
const FIRST = 3;

/**
 * The probe that a kernel is checked with. A head must find the best id wherever it is, so each of its outputs is a row's
 * best: row FIRST + n is what weight column n holds, less the mean of each 16. (What a block's elements have in common,
 * a minimum say, other columns may have more of.)
 */
export function checkData(kind: MatmulKind): ProbeData {
  if (kind.form !== "headArgmax") return probeData(kind);
  const data = probeData(kind, { ...CHECK_SIZE, rows: FIRST + CHECK_SIZE.outputs + 1 });
  const { inputSize, outputs } = data.size;
  for (let n = 0; n < outputs; n++) {
    const column = data.values.subarray(n * inputSize, (n + 1) * inputSize);
    for (let k = 0; k < inputSize; k += 16) {
      const part = column.subarray(k, k + 16);
      const mean = part.reduce((sum, w) => sum + w, 0) / part.length;
      data.input.set(
        part.map((w) => w - mean),
        (FIRST + n) * data.inputStride + k,
      );
    }
  }
  return data;
}

/** Runs a kernel, prepared, on some rows of a probe and compares every number that it writes, and those it must not write. */
export async function computesRight(device: Device, trial: Trial): Promise<Verdict> {
  const { data, shape, record } = trial;
  const range = { first: FIRST, count: data.rows - FIRST - 1 };
  const [outputs] = await runProbe(device, data, shape, [
    {
      ranges: [range],
      record: (recorder, buffers, firstRange) =>
        record(recorder, buffers, { range: firstRange, count: range.count, end: 0 }),
    },
  ]);
  return judge(trial, range, outputs!);
}

/** What the outputs of a kernel are worth that ran on rows [first, first + count) of a probe. */
export function judge(
  { data, groupOf = () => 0 }: Pick<Trial, "data" | "groupOf">,
  { first, count }: { first: number; count: number },
  outputs: Readonly<Record<string, Words>>,
): Verdict {
  const rows = Array.from({ length: count }, (_, r) => first + r);
  const findings =
    data.kind.form === "headArgmax"
      ? rows.flatMap((row) => candidateErrors(data, row, groupOf, outputs.candidates!))
      : rows.flatMap((row) => numberErrors(data, row, outputs));
  const written = new Map<string, Set<number>>();
  for (const { name, at } of findings) written.set(name, (written.get(name) ?? new Set()).add(at));
  for (const [name, words] of Object.entries(outputs)) {
    const before = outputNumbers(data, name, data.before[name]!);
    const after = outputNumbers(data, name, words);
    const stray = after.findIndex((value, i) => !Object.is(value, before[i]) && !written.get(name)?.has(i));
    if (stray >= 0) findings.push({ name, at: stray, error: Infinity, found: `${after[stray]}, expected no write` });
  }
  const worst = findings.reduce((a, b) => (b.error > a.error ? b : a));
  const { error, name, at, found } = worst;
  return { ok: error <= 1, worst: error, where: `${name}, number ${at}: ${found}` };
}

/** A number that was looked at. `error`: as a fraction of its bound. */
interface Finding {
  name: string;
  at: number;
  error: number;
  found: string;
}

function numberErrors(data: ProbeData, row: number, outputs: Readonly<Record<string, Words>>): Finding[] {
  const numbers = new Map(Object.entries(outputs).map(([name, words]) => [name, outputNumbers(data, name, words)]));
  return plainOutputs(data, row).map(({ name, at, expected }) => {
    const value = numbers.get(name)![at]!;
    return { name, at, ...errorOf(value, expected.value, errorBound(data, name, expected)) };
  });
}

function errorOf(value: number, expected: number, bound: number): Pick<Finding, "error" | "found"> {
  const error = Math.abs(value - expected) / bound;
  return { error: Number.isNaN(error) ? Infinity : error, found: `${value}, expected ${expected} within ${bound}` };
}

/** f32, rounded to either neighbour; f16 likewise, and its smallest number. */
const ROUNDING = 2 ** -23;
const HALF_ROUNDING = 2 ** -10;
const HALF_SMALLEST = 2 ** -24;

/** Roundings beside those of the products and of their sum: norm, scale, rotation or silu, what they are added to. */
const EPILOGUE_ROUNDINGS = 64;

/**
 * By how much an output may be off. The terms of codes with a minimum, scale * code and minimum, are summed apart and may
 * cancel: each is larger than the weight by a factor of about 2 on average in a probe.
 */
export function errorBound(data: ProbeData, name: string, { value, size }: Expected): number {
  const { format, kv } = data.kind;
  const cancelled = isBlockFormat(format) && format.codes === "minimum" ? 4 : 1;
  const sum = (data.size.inputSize + EPILOGUE_ROUNDINGS) * ROUNDING * cancelled * size;
  const isHalf = kv === "f16" && (name === "keys" || name === "values");
  return sum + (isHalf ? HALF_ROUNDING * (Math.abs(value) + sum) + HALF_SMALLEST : 0);
}

/**
 * The candidates of a row: each must be an id of its workgroup with that id's logit, and no id of the workgroup may surely
 * have a larger one. (Which of two nearly equal ones is larger is for the roundings to say.)
 */
function candidateErrors(
  data: ProbeData,
  row: number,
  groupOf: (output: number) => number,
  candidates: Words,
): Finding[] {
  const { outputs, resultStride = outputs, resultOffset = 0, firstId = 0 } = data.size;
  const logits = plainProducts(data, row);
  const logitNumbers = new Float32Array(candidates.buffer, candidates.byteOffset, candidates.length);
  const groupCount = Math.max(...logits.map((_, output) => groupOf(output))) + 1;
  return Array.from({ length: groupCount }, (_, group) => group).flatMap((group) => {
    const at = (row * resultStride + resultOffset + group) * 2;
    const logit = logitNumbers[at]!;
    const output = candidates[at + 1]! - firstId;
    const expected = logits[output];
    const name = "candidates";
    if (!expected || groupOf(output) !== group) {
      const found = `id ${candidates[at + 1]}, which is none of workgroup ${group}`;
      return [
        { name, at, error: 0, found: "" },
        { name, at: at + 1, error: Infinity, found },
      ];
    }
    const bound = errorBound(data, name, expected);
    const missed = logits.map((other, id) =>
      groupOf(id) === group ? (other.value - expected.value) / (errorBound(data, name, other) + bound) : 0,
    );
    const most = missed.reduce((best, excess, id) => (excess > missed[best]! ? id : best), 0);
    return [
      { name, at, ...errorOf(logit, expected.value, bound) },
      {
        name,
        at: at + 1,
        error: Math.max(0, missed[most]!),
        found: `id ${candidates[at + 1]}, though the logit of ${most + firstId} is larger`,
      },
    ];
  });
}
