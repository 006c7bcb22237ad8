/**
 * The self-check of repacking: do a checkpoint's numbers land where they should, rounded or as codes, on this device? The
 * host's twin (weight_codec.ts) says what the matrix must hold, bit for bit.
 *
 * It has no rule of its own for scales: the numbers of a block are made from codes and a scale, which must come back.
 */

import type { Device } from "../gpu/device.ts";
import { checkNumbers } from "./matmul_probe.ts";
import { Repack, repackShape } from "./repack.ts";
import type { FloatType } from "./source_type.ts";
import { firstDifference, requireRight, runTrial } from "./trial_run.ts";
import {
  codeRange,
  half,
  halfBits,
  type MatrixContents,
  type PackedMatrix,
  packMatrix,
  singleBits,
  unpackMatrix,
} from "./weight_codec.ts";
import { type BlockFormat, formatName, isBlockFormat, type WeightFormat } from "./weight_format.ts";

/** An element type of a checkpoint, and the format that its numbers become. */
export interface Conversion {
  type: FloatType;
  format: WeightFormat;
}

/** Two units of any format and the beginning of a third; more rows than a workgroup has threads. */
const INPUT_SIZE = 140;
const ROWS = 67;
/** Columns of the matrix: the rows become those from `FIRST` on, others stay. */
const FIRST = 2;
const COLUMNS = FIRST + ROWS + 1;

/**
 * By how much a scale may be off, as a fraction. One in f16 is the nearest; a device may compute one in f32 to 2.5 units
 * of 2^-24, and the entries of a codebook are rounded to the source's type before it is fitted.
 */
function scaleBound({ scale, codes }: BlockFormat): number {
  if (codes === "codebook") return 2 ** -7;
  return scale === "f16" ? 0 : 2 ** -21;
}

/** @throws GpuError when the kernel cannot be compiled or computes wrong on this device */
export async function checkRepack(device: Device, { type, format }: Conversion): Promise<void> {
  const kernel = new Repack(device, type, format);
  await kernel.prepare();
  const random = checkNumbers();
  const before = made(type, format, COLUMNS, random);
  const given = made(type, format, ROWS, random);
  const held = packMatrix(format, INPUT_SIZE, COLUMNS, before.contents);
  const [weight, scales] = await runTrial(device, "repack check", ({ recorder, storage, uniform }) => {
    const buffers = { weight: storage("weight", held.weight), scales: storage("scales", held.scales) };
    const group = kernel.bind({
      ...buffers,
      shape: uniform("shape", repackShape(ROWS, INPUT_SIZE, FIRST, COLUMNS)),
      source: storage("source", stored(type, given.numbers)),
    });
    kernel.dispatch(recorder, group, ROWS, INPUT_SIZE);
    return [buffers.weight, buffers.scales];
  });
  const fault = difference(format, { weight: weight!, scales: scales! }, inColumns(before.contents, given.contents));
  requireRight(kernel.name, fault && `${type} to ${formatName(format)}: ${fault}`);
}

/** Numbers as the source holds them, row by row, and what they must become. */
interface Made {
  numbers: number[];
  contents: Required<MatrixContents>;
}

function made(type: FloatType, format: WeightFormat, rows: number, random: () => number): Made {
  const round = ROUNDED[type];
  if (!isBlockFormat(format)) {
    const numbers = Array.from({ length: rows * INPUT_SIZE }, () =>
      round((2 * random() - 1) * 2 ** Math.floor(8 - 38 * random())),
    );
    return { numbers, contents: { elements: numbers, scales: [], minima: [] } };
  }
  const { full, others, levelOf, signed } = codesOf(format);
  const blocks = Math.ceil(INPUT_SIZE / format.block);
  const scales = Array.from(
    { length: rows * blocks },
    () => 2 ** -Math.floor(2 + 4 * random()) * (signed && random() < 0.5 ? -1 : 1),
  );
  const minima = scales.map((scale) =>
    format.codes === "minimum" ? 0 - scale * Math.floor(random() * levelOf(full)) : 0,
  );
  const elements: number[] = [];
  const numbers: number[] = [];
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < INPUT_SIZE; k++) {
      const block = row * blocks + Math.floor(k / format.block);
      // The ends of a block's numbers are those of its codes, so that no other scale fits.
      const ends = [full, others[0]!];
      const code = ends[k % format.block] ?? others[Math.floor(random() * others.length)]!;
      elements.push(code);
      numbers.push(round(scales[block]! * levelOf(code) + minima[block]!));
    }
  }
  return { numbers, contents: { elements, scales, minima } };
}

/** A number that a type holds. */
const ROUNDED: Record<FloatType, (value: number) => number> = {
  F32: Math.fround,
  F16: (value) => half(halfBits(value)),
  BF16: (value) => {
    const bits = Uint32Array.of(singleBits(value) & 0xffff0000);
    return new Float32Array(bits.buffer)[0]!;
  },
};

/** Numbers as a checkpoint stores them. */
function stored(type: FloatType, numbers: readonly number[]): Uint32Array<ArrayBuffer> {
  if (type === "F32") return Uint32Array.from(numbers, singleBits);
  const halves = Uint16Array.from(numbers, type === "F16" ? halfBits : (value) => singleBits(value) >>> 16);
  return new Uint32Array(halves.buffer);
}

/** The codes that blocks are made of. */
interface Codes {
  /** The code that a block's number of largest magnitude gets, or its greatest number where it has a minimum. */
  full: number;
  /** The others; the first is the lowest. Those of a codebook that a rounding takes for another are left out. */
  others: number[];
  levelOf(code: number): number;
  /** Whether scales may be negative. */
  signed: boolean;
}

function codesOf(format: BlockFormat): Codes {
  const { type, codes, codebook = [] } = format;
  const { lowest, highest } = codeRange(format);
  const all = Array.from({ length: highest - lowest + 1 }, (_, i) => lowest + i);
  if (codes === "codebook") {
    const levelOf = (code: number) => codebook[code]!;
    const full = all.reduce((a, b) => (Math.abs(levelOf(b)) > Math.abs(levelOf(a)) ? b : a));
    const others = all.filter((code) => {
      const gap = 2 ** -6 * Math.abs(levelOf(code));
      return (
        Math.abs(levelOf(code)) + gap < Math.abs(levelOf(full)) &&
        all.every((other) => other === code || Math.abs(levelOf(other) - levelOf(code)) > gap)
      );
    });
    return { full, others, levelOf, signed: true };
  }
  const levelOf = (code: number) => code;
  if (codes === "minimum") return { full: highest, others: all.slice(0, -1), levelOf, signed: false };
  // -8 .. 7: the end of the longer side. -127 .. 127: either end, and -128 is no code.
  return type === "q4"
    ? { full: lowest, others: all.slice(1), levelOf, signed: true }
    : { full: highest, others: all.slice(1, -1), levelOf, signed: false };
}

/** A matrix with the columns from `FIRST` on replaced. */
function inColumns(whole: Made["contents"], part: Made["contents"]): Made["contents"] {
  const put = (all: ArrayLike<number>, some: ArrayLike<number>) => {
    const numbers = Float64Array.from(all);
    numbers.set(some, (some.length / ROWS) * FIRST);
    return numbers;
  };
  return {
    elements: put(whole.elements, part.elements),
    scales: put(whole.scales, part.scales),
    minima: put(whole.minima, part.minima),
  };
}

/** The first element, scale or minimum of a matrix that is not as expected, or else a word of its padding. */
function difference(format: WeightFormat, got: PackedMatrix, contents: Made["contents"]): string | undefined {
  const expected = packMatrix(format, INPUT_SIZE, COLUMNS, contents);
  const [found, wanted] = [got, expected].map(({ weight, scales }) =>
    unpackMatrix(format, weight, scales, INPUT_SIZE, COLUMNS),
  );
  const within = (what: string, perColumn: number) => (i: number) =>
    `column ${Math.floor(i / perColumn)}, ${what} ${i % perColumn}`;
  const blocks = contents.scales.length / COLUMNS;
  const bound = isBlockFormat(format) ? scaleBound(format) : 0;
  const tolerance = wanted!.scales.map((scale) => bound * Math.abs(scale));
  return (
    firstDifference(found!.elements, wanted!.elements, within("element", INPUT_SIZE)) ??
    firstDifference(found!.scales, wanted!.scales, within("scale", blocks), tolerance) ??
    firstDifference(found!.minima, wanted!.minima, within("minimum", blocks)) ??
    firstDifference(got.weight, expected.weight, (i) => `weight, word ${i}`)
  );
}
