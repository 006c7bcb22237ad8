/**
 * The host's twin of the weight formats (shaders/weights/formats/README.md): packs, unpacks and makes up matrices, for tests
 * and for checking kernels on the device. Weights of a model are packed on the GPU (repack.ts).
 */

import { type BlockFormat, isBlockFormat, STEP, scaleBytes, type WeightFormat, weightBytes } from "./weight_format.ts";

type Words = Uint32Array<ArrayBuffer>;

/** The two buffers of a matrix on the GPU. */
export interface PackedMatrix {
  weight: Words;
  scales: Words;
}

/** What a matrix is made of, before packing. Lengths are those of the matrix without its padding. */
export interface MatrixContents {
  /**
   * `[columns][inputSize]`: numbers for floats, else codes. Symmetric codes are signed (-128..127, -8..7), the others are not.
   * Floats are rounded to nearest, ties to even.
   */
  elements: ArrayLike<number>;
  /** `[columns][ceil(inputSize / block)]`; rounded like floats. Block formats only. */
  scales?: ArrayLike<number>;
  /** Like `scales`, for codes with a minimum. */
  minima?: ArrayLike<number>;
}

/** Below it f16 has subnormals, which a device may flush. */
const SMALLEST_NORMAL_HALF = 2 ** -14;

/** Where an element of a column lies in its step: word and shift. The same rule for every format. */
function place(format: WeightFormat, k: number, column: number, columns: number): Place {
  const step = STEP[format.type];
  const within = k % step;
  return {
    word: (Math.floor(k / step) * columns + column) * 4 + (within % 4),
    shift: (128 / step) * Math.floor(within / 4),
  };
}

/** Where the scale of a block lies, and its minimum where it has one. */
function scalePlace(
  format: BlockFormat,
  block: number,
  column: number,
  columns: number,
): { scale: Place; minimum: Place | undefined } {
  const { scale, codes } = format;
  const at = block * columns + column;
  if (codes === "minimum") {
    return scale === "f32"
      ? { scale: { word: 2 * at, shift: 0 }, minimum: { word: 2 * at + 1, shift: 0 } }
      : { scale: { word: at, shift: 0 }, minimum: { word: at, shift: 16 } };
  }
  if (scale === "f32") return { scale: { word: at, shift: 0 }, minimum: undefined };
  return { scale: { word: (block >> 1) * columns + column, shift: 16 * (block & 1) }, minimum: undefined };
}

interface Place {
  word: number;
  shift: number;
}

/** What is added to a code so that it is stored as an unsigned number. */
function codeOffset({ type, codes }: BlockFormat): number {
  return type === "q4" && codes === "symmetric" ? 8 : 0;
}

/** Lays out a matrix. Padding is zero: codes, scales and minima. */
export function packMatrix(
  format: WeightFormat,
  inputSize: number,
  columns: number,
  { elements, scales = [], minima = [] }: MatrixContents,
): PackedMatrix {
  const packed = {
    weight: new Uint32Array(weightBytes(format, inputSize, columns) / 4),
    scales: new Uint32Array(scaleBytes(format, inputSize, columns) / 4),
  };
  const put = (words: Words, { word, shift }: Place, bits: number) => {
    words[word] = words[word]! | (bits << shift);
  };
  for (let column = 0; column < columns; column++) {
    for (let k = 0; k < inputSize; k++) {
      const element = elements[column * inputSize + k]!;
      put(packed.weight, place(format, k, column, columns), elementBits(format, element));
    }
    if (!isBlockFormat(format)) continue;
    const toBits = format.scale === "f32" ? singleBits : halfBits;
    const blocks = Math.ceil(inputSize / format.block);
    for (let block = 0; block < blocks; block++) {
      const at = scalePlace(format, block, column, columns);
      put(packed.scales, at.scale, toBits(scales[column * blocks + block]!));
      if (at.minimum) put(packed.scales, at.minimum, toBits(minima[column * blocks + block]!));
    }
  }
  return packed;
}

function elementBits(format: WeightFormat, element: number): number {
  if (!isBlockFormat(format)) return format.type === "f32" ? singleBits(element) : halfBits(element);
  return (element + codeOffset(format)) & (format.type === "q8" ? 255 : 15);
}

/** What a packed matrix was made of: the inverse of `packMatrix`, the padding left out. */
export function unpackMatrix(
  format: WeightFormat,
  weight: Uint32Array,
  scales: Uint32Array,
  inputSize: number,
  columns: number,
): { elements: Float64Array; scales: Float64Array; minima: Float64Array } {
  const blocks = isBlockFormat(format) ? Math.ceil(inputSize / format.block) : 0;
  const contents = {
    elements: new Float64Array(columns * inputSize),
    scales: new Float64Array(columns * blocks),
    minima: new Float64Array(columns * blocks),
  };
  const take = (words: Uint32Array, { word, shift }: Place) => words[word]! >>> shift;
  for (let column = 0; column < columns; column++) {
    for (let k = 0; k < inputSize; k++) {
      const bits = take(weight, place(format, k, column, columns));
      contents.elements[column * inputSize + k] = elementOf(format, bits);
    }
    if (!isBlockFormat(format)) continue;
    const from = format.scale === "f32" ? single : half;
    for (let block = 0; block < blocks; block++) {
      const at = scalePlace(format, block, column, columns);
      contents.scales[column * blocks + block] = from(take(scales, at.scale));
      if (at.minimum) contents.minima[column * blocks + block] = from(take(scales, at.minimum));
    }
  }
  return contents;
}

/** An element or code from its bits. Bits above a code's own are other codes'. */
function elementOf(format: WeightFormat, bits: number): number {
  if (!isBlockFormat(format)) return format.type === "f32" ? single(bits) : half(bits);
  if (format.type === "q8" && format.codes === "symmetric") return (bits << 24) >> 24;
  return (bits & (format.type === "q8" ? 255 : 15)) - codeOffset(format);
}

/**
 * The numbers of a packed matrix, `[columns][inputSize]`: scale * code + minimum as exactly as a double holds it. (A kernel
 * may scale the sum over a block instead of each code.)
 */
export function decodeMatrix(
  format: WeightFormat,
  weight: Uint32Array,
  scales: Uint32Array,
  inputSize: number,
  columns: number,
): Float64Array<ArrayBuffer> {
  const contents = unpackMatrix(format, weight, scales, inputSize, columns);
  const values = Float64Array.from(contents.elements);
  if (!isBlockFormat(format)) return values;
  const blocks = Math.ceil(inputSize / format.block);
  const book = format.codes === "codebook" ? Float32Array.from(format.codebook ?? []) : undefined;
  for (const [i, code] of values.entries()) {
    const block = Math.floor(i / inputSize) * blocks + Math.floor((i % inputSize) / format.block);
    values[i] = contents.scales[block]! * (book ? book[code]! : code) + contents.minima[block]!;
  }
  return values;
}

/**
 * A matrix made up for a check: numbers of about 1 at most, scales of either sign, nothing that a device may flush to zero.
 * @param random uniform in [0, 1)
 * @returns the matrix and the numbers it decodes to, `[columns][inputSize]`
 */
export function randomMatrix(
  format: WeightFormat,
  inputSize: number,
  columns: number,
  random: () => number,
): PackedMatrix & { values: Float64Array<ArrayBuffer> } {
  const fill = (length: number, number: () => number) => Float64Array.from({ length }, number);
  const signed = () => 2 * random() - 1;
  let contents: MatrixContents;
  if (isBlockFormat(format)) {
    const count = columns * Math.ceil(inputSize / format.block);
    const { lowest, highest, largest } = codeRange(format);
    const scale = () => (Math.sign(signed()) || 1) * (0.25 + 0.75 * random());
    contents = {
      elements: fill(columns * inputSize, () => lowest + Math.floor(random() * (highest - lowest + 1))),
      scales: fill(count, () => scale() / largest),
      minima: fill(count, () => scale() / 2),
    };
  } else {
    const normal = (value: number) => (Math.abs(value) < SMALLEST_NORMAL_HALF ? 0 : value);
    contents = { elements: fill(columns * inputSize, () => normal(signed())) };
  }
  const packed = packMatrix(format, inputSize, columns, contents);
  return { ...packed, values: decodeMatrix(format, packed.weight, packed.scales, inputSize, columns) };
}

/** The codes of a format, and the largest magnitude one stands for. */
export function codeRange(format: BlockFormat): { lowest: number; highest: number; largest: number } {
  const { type, codes, codebook = [] } = format;
  if (codes === "codebook") {
    const largest = Math.max(...codebook.map(Math.abs));
    return { lowest: 0, highest: Math.min(codebook.length, type === "q8" ? 256 : 16) - 1, largest };
  }
  const count = type === "q8" ? 256 : 16;
  if (codes === "minimum") return { lowest: 0, highest: count - 1, largest: count - 1 };
  return { lowest: -count / 2, highest: count / 2 - 1, largest: count / 2 };
}

const scratch = new Uint32Array(1);
const scratchSingle = new Float32Array(scratch.buffer);

/** Bits of a number in f32, rounded to nearest, ties to even. */
export function singleBits(value: number): number {
  scratchSingle[0] = value;
  return scratch[0]!;
}

export function single(bits: number): number {
  scratch[0] = bits;
  return scratchSingle[0]!;
}

/** Bits of a number in f16, rounded to nearest, ties to even, in one rounding. */
export function halfBits(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (magnitude >= 65520) return sign | 0x7c00; // half a unit above the largest
  // A logarithm that is off at a power of two does no harm: 2048 units of one exponent are 1024 of the next.
  const exponent = Math.max(-14, Math.floor(Math.log2(magnitude)));
  const units = roundToEven(magnitude / 2 ** (exponent - 10));
  return sign | ((exponent + 14) * 1024 + units);
}

/** The number that the lowest 16 bits hold in f16. */
export function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

function roundToEven(value: number): number {
  const below = Math.floor(value);
  const above = value - below;
  return above > 0.5 || (above === 0.5 && below % 2 === 1) ? below + 1 : below;
}
