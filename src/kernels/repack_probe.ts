/**
 * Small matrices as files store them, and what they must become in a format: what repacking is tried with.
 *
 * Floats that become codes are made from codes and a scale, which must come back: so the trial needs no rule of its own for
 * scales. Blocks that become other codes have no such twin; there the numbers are what the result is held to.
 */

import { blockElements, decodeBlocks, randomBlocks } from "./gguf_blocks.ts";
import { movesInto } from "./repack.ts";
import { type FloatType, type GgufBlockType, isFloat, SOURCE_LAYOUTS, type SourceType } from "./source_type.ts";
import { codeRange, half, halfBits, type MatrixContents, singleBits } from "./weight_codec.ts";
import { type BlockFormat, isBlockFormat, type WeightFormat } from "./weight_format.ts";

/** Rows as a file holds them, and what they must become. */
export interface ProbeRows {
  bytes: Uint8Array<ArrayBuffer>;
  /** The numbers that the bytes stand for. */
  numbers: ArrayLike<number>;
  /** What the matrix must hold; absent where the numbers alone are known. */
  contents?: Required<MatrixContents>;
}

/** Two units of any format and the beginning of a third; of blocks, two of the large or three of the small ones. */
export function probeInputSize(type: SourceType): number {
  const { elements } = SOURCE_LAYOUTS[type];
  if (elements === 1) return 140;
  return elements * (elements < 256 ? 3 : 2);
}

/** Makes up rows of a type that are to become columns of a format. */
export function probeRows(type: SourceType, format: WeightFormat, rows: number, random: () => number): ProbeRows {
  return isFloat(type) ? floatRows(type, format, rows, random) : blockRows(type, format, rows, random);
}

/** A size of a half's scale at which neither codes nor sums come near the ends of f16. */
const EXPONENTS = [10, 15] as const;

function blockRows(type: GgufBlockType, format: WeightFormat, rows: number, random: () => number): ProbeRows {
  const inputSize = probeInputSize(type);
  const bytes = randomBlocks(type, (rows * inputSize) / SOURCE_LAYOUTS[type].elements, random, EXPONENTS);
  const numbers = decodeBlocks(type, bytes);
  if (!isBlockFormat(format)) return { bytes, numbers, contents: { elements: numbers, scales: [], minima: [] } };
  if (!movesInto(type, format)) return { bytes, numbers };
  const elements = [...blockElements(type, bytes)];
  const firsts = elements.filter((_, i) => i % format.block === 0);
  return {
    ...{ bytes, numbers },
    contents: {
      elements: elements.map(({ code }) => code),
      scales: firsts.map(({ scale }) => scale),
      minima: firsts.map(({ minimum }) => minimum),
    },
  };
}

function floatRows(type: FloatType, format: WeightFormat, rows: number, random: () => number): ProbeRows {
  const round = ROUNDED[type];
  const inputSize = probeInputSize(type);
  if (!isBlockFormat(format)) {
    const numbers = Array.from({ length: rows * inputSize }, () =>
      round((2 * random() - 1) * 2 ** Math.floor(8 - 38 * random())),
    );
    return { bytes: stored(type, numbers), numbers, contents: { elements: numbers, scales: [], minima: [] } };
  }
  const { full, others, levelOf, signed } = codesOf(format);
  const blocks = Math.ceil(inputSize / format.block);
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
    for (let k = 0; k < inputSize; k++) {
      const block = row * blocks + Math.floor(k / format.block);
      // The ends of a block's numbers are those of its codes, so that no other scale fits.
      const ends = [full, others[0]!];
      const code = ends[k % format.block] ?? others[Math.floor(random() * others.length)]!;
      elements.push(code);
      numbers.push(round(scales[block]! * levelOf(code) + minima[block]!));
    }
  }
  return { bytes: stored(type, numbers), numbers, contents: { elements, scales, minima } };
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
function stored(type: FloatType, numbers: readonly number[]): Uint8Array<ArrayBuffer> {
  if (type === "F32") return new Uint8Array(Uint32Array.from(numbers, singleBits).buffer);
  const halves = Uint16Array.from(numbers, type === "F16" ? halfBits : (value) => singleBits(value) >>> 16);
  return new Uint8Array(halves.buffer);
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
