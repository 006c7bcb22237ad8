/**
 * A small product to try a matmul kernel with on the device at hand: the same numbers everywhere, and what must come out.
 *
 * It serves the two checks that are made before a kernel is used: against its one-row twin, bit for bit (twin_check.ts), and
 * against plain arithmetic on the host (self_check.ts).
 */

import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
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
export function checkNumbers(): () => number {
  let state = 0x9e3779b9;
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
  scales: Words;
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
  const { weight, scales, values } = randomMatrix(kind.format, inputSize, outputs * widthOf(kind.form), random);
  const inputStride = isNormed(kind.form) ? streamStride(inputSize) : paddedSize(inputSize);
  const input = new Float32Array(rows * inputStride);
  const gain = mixed(random, inputSize);
  for (let row = 0; row < rows; row++) {
    const x = mixed(random, inputSize);
    input.set(x, row * inputStride);
    // The stream as add.wgsl leaves it: itself, and itself times the norm's weight.
    const gained = x.map((v, k) => v * gain[k]!);
    if (isNormed(kind.form)) input.set(gained, row * inputStride + paddedSize(inputSize));
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
  return { kind, size, rows, values, weight, scales, input, inputStride, normWeight, rotations, before };
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
  const { STORAGE, UNIFORM, COPY_DST, COPY_SRC, MAP_READ } = BufferUsage;
  const { ledger, handle } = device;
  const held: GPUBuffer[] = [];
  const filled = (name: string, words: Words | Float32Array<ArrayBuffer>, usage: number) => {
    const buffer = ledger.allocate(OWNER, name, words.byteLength, usage | COPY_DST);
    held.push(buffer);
    handle.queue.writeBuffer(buffer, 0, words);
    return buffer;
  };
  try {
    const ids = Array.from({ length: data.rows }, () => 0);
    const given: Record<string, GPUBuffer> = {
      range: filled("ranges", encodeRanges(passes.flatMap((pass) => pass.ranges)), UNIFORM),
      shape: filled("shape", shape, UNIFORM),
      weight: filled("weight", data.weight, STORAGE),
      scales: filled("scales", data.scales, STORAGE),
      input: filled("input", data.input, STORAGE),
      rows: filled("rows", encodeRows(chainOf(ids, START)), STORAGE),
      rotations: filled("rotations", data.rotations, STORAGE),
      normWeight: filled("norm weight", data.normWeight, STORAGE),
    };
    const recorder = new Recorder(handle, OWNER);
    let firstRange = 0;
    const reads = passes.map(({ ranges, record }) => {
      const outputs = Object.entries(data.before).map(([name, words]) => {
        const buffer = filled(name, words, STORAGE | COPY_SRC);
        const read = ledger.allocate(OWNER, `read ${name}`, words.byteLength, MAP_READ | COPY_DST);
        held.push(read);
        return { name, buffer, read };
      });
      const buffers = { ...given, ...Object.fromEntries(outputs.map(({ name, buffer }) => [name, buffer])) };
      // Every binding of the form is there: the inputs above, the outputs by `outputWords`.
      record(recorder, buffers as Record<MatmulBinding, GPUBuffer>, firstRange);
      firstRange += ranges.length;
      for (const { buffer, read } of outputs) recorder.copy(buffer, 0, read, 0, buffer.size);
      return outputs;
    });
    device.submit(recorder);
    return await Promise.all(
      reads.map(async (outputs) => {
        const entries = outputs.map(
          async ({ name, read }) => [name, new Uint32Array(await device.read(read, read.size))] as const,
        );
        return Object.fromEntries(await Promise.all(entries));
      }),
    );
  } finally {
    for (const buffer of held) ledger.release(buffer);
  }
}
