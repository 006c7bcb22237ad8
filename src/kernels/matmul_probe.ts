/**
 * A small product to try a matmul kernel with on the device at hand: the same numbers everywhere, and what must come out.
 *
 * It serves the two checks that are made before a kernel is used: against its one-row twin, bit for bit (twin_check.ts), and
 * against plain arithmetic on the host (self_check.ts).
 */

import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { HeadShape } from "./attention_shape.ts";
import {
  isNormed,
  type MatmulBinding,
  type MatmulKind,
  type MatmulSize,
  streamStride,
  widthOf,
} from "./matmul_form.ts";
import { chainOf, encodeRanges, encodeRows, type RowRange } from "./rows.ts";
import { runTrial } from "./trial_run.ts";
import { randomMatrix } from "./weight_codec.ts";
import { paddedSize } from "./weight_format.ts";

const OWNER = "probe";
const EPSILON = 1e-5;
/** Position of the first row. */
const START = 5;

type Words = Uint32Array<ArrayBuffer>;

/** Sizes of a probe. Those of the checks are no multiple of a vector width of any compiler. */
export interface ProbeSize {
  inputSize: number;
  /** Outputs a row; those of `qkv` follow from its heads. */
  outputs: number;
  headShape: HeadShape;
  rows: number;
}

/** The sizes of the checks: three turns, and a piece of one, of the longest loop there is: 8 slices of 32 codes. */
export const CHECK_SIZE: ProbeSize = {
  inputSize: 3 * 8 * 32 + 12,
  outputs: 70,
  headShape: { heads: 3, kvHeads: 1, headDim: 16 },
  rows: 16,
};

/** The same numbers in [0, 1) everywhere. */
export function checkNumbers(seed = 0x9e3779b9): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Numbers of mixed size and sign, so that every rounding of a sum shows. */
function mixed(random: () => number, count: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count }, () => (2 * random() - 1) * 2 ** Math.floor(5 * random()));
}

/** The outputs of a form: name and words. */
function outputWords(
  { form, kv = "f32" }: MatmulKind,
  { outputs, headShape, rows }: ProbeSize,
): Record<string, number> {
  const { heads, kvHeads, headDim } = headShape;
  const slots = (START + rows) * kvHeads * headDim * (kv === "f16" ? 0.5 : 1);
  switch (form) {
    case "add":
      return { stream: rows * streamStride(outputs) };
    case "qkv":
      return { queries: rows * heads * headDim, keys: slots, values: slots };
    case "headArgmax":
      return { candidates: rows * outputs * 2 };
    default:
      return { output: rows * outputs };
  }
}

/** What the rows, the matrix and the rest of a probe hold, on the host. */
export interface ProbeData {
  kind: MatmulKind;
  size: MatmulSize & { headShape: HeadShape; epsilon: number };
  /** `[columns][inputSize]` */
  values: Float64Array;
  weight: Words;
  /** With the biases behind the scales. */
  scales: Words;
  /** `[columns]`; none where the kind has none. */
  biases: Float32Array<ArrayBuffer>;
  rows: number;
  /** `[rows][inputStride]` */
  input: Float32Array<ArrayBuffer>;
  inputStride: number;
  /** `[outputs]` */
  normWeight: Float32Array<ArrayBuffer>;
  /** `[position][headDim / 2]` (cos, sin) */
  rotations: Float32Array<ArrayBuffer>;
  /** What the outputs hold before, by name. */
  before: Record<string, Words>;
}

/** The numbers of a probe. */
export function probeData(kind: MatmulKind, probe = CHECK_SIZE, random = checkNumbers()): ProbeData {
  const { inputSize, headShape, rows } = probe;
  const { heads, kvHeads, headDim } = headShape;
  const outputs = kind.form === "qkv" ? ((heads + 2 * kvHeads) * headDim) / 2 : probe.outputs;
  const size = { inputSize, outputs, headShape, epsilon: EPSILON, resultStride: outputs };
  const columns = outputs * widthOf(kind.form);
  const { weight, scales: scaleWords, values } = randomMatrix(kind.format, inputSize, columns, random);
  const inputStride = isNormed(kind) ? streamStride(inputSize) : paddedSize(inputSize);
  const input = new Float32Array(rows * inputStride);
  // Gates about zero, where an activation is more than its asymptotes.
  const scale = kind.form === "gated" ? 2 ** -5 : 1;
  const gain = mixed(random, inputSize).map((g) => scale * g);
  for (let row = 0; row < rows; row++) {
    const x = mixed(random, inputSize).map((v) => (isNormed(kind) ? v : scale * v));
    input.set(x, row * inputStride);
    // The stream as add.wgsl leaves it: itself, and itself times the norm's weight.
    const gained = x.map((v, k) => v * gain[k]!);
    if (isNormed(kind)) input.set(gained, row * inputStride + paddedSize(inputSize));
  }
  // Not zeros: what the add form adds to must show where a compiler makes it the first summand.
  const before = Object.fromEntries(
    Object.entries(outputWords(kind, probe)).map(([name, words]) => [
      name,
      new Uint32Array(mixed(random, words).buffer),
    ]),
  );
  const rotations = mixed(random, (START + rows) * headDim);
  const normWeight = mixed(random, outputs);
  const biases = kind.bias ? mixed(random, columns).map((b) => scale * b) : new Float32Array(0);
  const scales = Uint32Array.from([...scaleWords, ...new Uint32Array(biases.buffer)]);
  return { kind, size, rows, values, weight, scales, biases, input, inputStride, normWeight, rotations, before };
}

/** Rows of the probe: a chain at positions START, START + 1, ... */
export function probePosition(row: number): number {
  return START + row;
}

/**
 * Runs dispatches over the probe's rows.
 * @param shape contents of the kernel's `Shape` uniform
 * @param passes each a list of ranges, and what to record for them; every pass has outputs of its own
 * @returns what each pass's outputs hold, by name
 */
export async function runProbe(
  device: Device,
  data: ProbeData,
  shape: Words,
  passes: readonly {
    ranges: readonly RowRange[];
    record: (recorder: Recorder, bind: Readonly<Record<MatmulBinding, GPUBuffer>>, firstRange: number) => void;
  }[],
): Promise<Record<string, Words>[]> {
  const outputs = Object.entries(data.before);
  const results = await runTrial(device, OWNER, ({ recorder, storage, uniform }) => {
    const ids = Array.from({ length: data.rows }, () => 0);
    const given = {
      range: uniform("ranges", encodeRanges(passes.flatMap((pass) => pass.ranges))),
      shape: uniform("shape", shape),
      weight: storage("weight", data.weight),
      scales: storage("scales", data.scales),
      input: storage("input", data.input),
      rows: storage("rows", encodeRows(chainOf(ids, START))),
      rotations: storage("rotations", data.rotations),
      normWeight: storage("norm weight", data.normWeight),
    };
    let firstRange = 0;
    return passes.flatMap(({ ranges, record }) => {
      const own = outputs.map(([name, words]) => [name, storage(name, words)] as const);
      // Every binding of the form is there: the inputs above, the outputs by `outputWords`.
      const buffers = { ...given, ...Object.fromEntries(own) } as Record<MatmulBinding, GPUBuffer>;
      record(recorder, buffers, firstRange);
      firstRange += ranges.length;
      return own.map(([, buffer]) => buffer);
    });
  });
  return passes.map((_, pass) =>
    Object.fromEntries(outputs.map(([name], i) => [name, results[pass * outputs.length + i]!])),
  );
}
