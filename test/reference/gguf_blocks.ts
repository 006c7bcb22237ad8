/**
 * The numbers that GGUF's blocks stand for, element by element in double precision, for comparison with the GPU.
 * Source: `ggml-common.h` and the `dequantize_row_*` functions of `ggml-quants.c`, https://github.com/ggml-org/llama.cpp.
 */

/** An element of a block: scale * level + minimum, the scale and minimum rounded to f32 as they are computed there. */
interface Element {
  scale: number;
  level: number;
  minimum?: number;
}

interface BlockType {
  elements: number;
  bytes: number;
  /** Byte offsets of the f16 scales. */
  halves: readonly number[];
  element(block: DataView, e: number): Element;
}

const IQ4 = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

const half = (block: DataView, at: number) => f16(block.getUint16(at, true));

/** Nibble of element e of 32 in 16 bytes. */
const nibble = (block: DataView, at: number, e: number) => (block.getUint8(at + (e % 16)) >> (e < 16 ? 0 : 4)) & 15;

const bit = (block: DataView, at: number, e: number) => (block.getUint8(at + (e >> 3)) >> (e & 7)) & 1;

/** Scale and minimum of group j of Q4_K and Q5_K (`get_scale_min_k4`). */
function sixBits(block: DataView, at: number, j: number): [number, number] {
  const q = (i: number) => block.getUint8(at + i);
  if (j < 4) return [q(j) & 63, q(j + 4) & 63];
  return [(q(j + 4) & 15) | ((q(j - 4) >> 6) << 4), (q(j + 4) >> 4) | ((q(j) >> 6) << 4)];
}

/** Scale of group j of Q3_K, whose 16 scales are 64 + 32 bits. */
function threeK(block: DataView, at: number, j: number): number {
  const low = (block.getUint8(at + (j % 8)) >> (j < 8 ? 0 : 4)) & 15;
  const high = (block.getUint8(at + 8 + (j % 4)) >> (2 * Math.floor(j / 4))) & 3;
  return low + 16 * high - 32;
}

export const BLOCK_TYPES: Readonly<Record<string, BlockType>> = {
  Q4_0: {
    elements: 32,
    bytes: 18,
    halves: [0],
    element: (b, e) => ({ scale: half(b, 0), level: nibble(b, 2, e) - 8 }),
  },
  Q4_1: {
    elements: 32,
    bytes: 20,
    halves: [0, 2],
    element: (b, e) => ({ scale: half(b, 0), level: nibble(b, 4, e), minimum: half(b, 2) }),
  },
  Q5_0: {
    elements: 32,
    bytes: 22,
    halves: [0],
    element: (b, e) => ({ scale: half(b, 0), level: nibble(b, 6, e) + 16 * bit(b, 2, e) - 16 }),
  },
  Q5_1: {
    elements: 32,
    bytes: 24,
    halves: [0, 2],
    element: (b, e) => ({ scale: half(b, 0), level: nibble(b, 8, e) + 16 * bit(b, 4, e), minimum: half(b, 2) }),
  },
  Q8_0: {
    elements: 32,
    bytes: 34,
    halves: [0],
    element: (b, e) => ({ scale: half(b, 0), level: b.getInt8(2 + e) }),
  },
  Q2_K: {
    elements: 256,
    bytes: 84,
    halves: [80, 82],
    element(b, e) {
      const nested = b.getUint8(e >> 4);
      const level = (b.getUint8(16 + 32 * (e >> 7) + (e % 32)) >> (2 * ((e >> 5) % 4))) & 3;
      return { scale: half(b, 80) * (nested & 15), level, minimum: -half(b, 82) * (nested >> 4) };
    },
  },
  Q3_K: {
    elements: 256,
    bytes: 110,
    halves: [108],
    element(b, e) {
      const low = (b.getUint8(32 + 32 * (e >> 7) + (e % 32)) >> (2 * ((e >> 5) % 4))) & 3;
      const high = (b.getUint8(e % 32) >> (e >> 5)) & 1;
      return { scale: half(b, 108) * threeK(b, 96, e >> 4), level: low + 4 * high - 4 };
    },
  },
  Q4_K: {
    elements: 256,
    bytes: 144,
    halves: [0, 2],
    element(b, e) {
      const group = e >> 5;
      const [scale, minimum] = sixBits(b, 4, group);
      const level = (b.getUint8(16 + 32 * (group >> 1) + (e % 32)) >> (4 * (group % 2))) & 15;
      return { scale: half(b, 0) * scale, level, minimum: -half(b, 2) * minimum };
    },
  },
  Q5_K: {
    elements: 256,
    bytes: 176,
    halves: [0, 2],
    element(b, e) {
      const group = e >> 5;
      const [scale, minimum] = sixBits(b, 4, group);
      const low = (b.getUint8(48 + 32 * (group >> 1) + (e % 32)) >> (4 * (group % 2))) & 15;
      const high = (b.getUint8(16 + (e % 32)) >> group) & 1;
      return { scale: half(b, 0) * scale, level: low + 16 * high, minimum: -half(b, 2) * minimum };
    },
  },
  Q6_K: {
    elements: 256,
    bytes: 210,
    halves: [208],
    element(b, e) {
      const [part, within] = [e >> 7, e % 128];
      const low = (b.getUint8(64 * part + (within % 64)) >> (within < 64 ? 0 : 4)) & 15;
      const high = (b.getUint8(128 + 32 * part + (within % 32)) >> (2 * (within >> 5))) & 3;
      return { scale: half(b, 208) * b.getInt8(192 + (e >> 4)), level: low + 16 * high - 32 };
    },
  },
  IQ4_NL: {
    elements: 32,
    bytes: 18,
    halves: [0],
    element: (b, e) => ({ scale: half(b, 0), level: IQ4[nibble(b, 2, e)]! }),
  },
  IQ4_XS: {
    elements: 256,
    bytes: 136,
    halves: [0],
    element(b, e) {
      const group = e >> 5;
      const low = (b.getUint8(4 + (group >> 1)) >> (4 * (group % 2))) & 15;
      const high = (b.getUint16(2, true) >> (2 * group)) & 3;
      return { scale: half(b, 0) * (low + 16 * high - 32), level: IQ4[nibble(b, 8 + 16 * group, e % 32)]! };
    },
  },
};

/** The numbers of a run of blocks. */
export function decodeBlocks(type: string, bytes: Uint8Array): Float64Array<ArrayBuffer> {
  const { elements, bytes: size, element } = BLOCK_TYPES[type]!;
  const values = new Float64Array((bytes.length / size) * elements);
  for (const i of values.keys()) {
    const block = new DataView(bytes.buffer, bytes.byteOffset + Math.floor(i / elements) * size, size);
    const { scale, level, minimum = 0 } = element(block, i % elements);
    values[i] = scale * level + minimum;
  }
  return values;
}

/**
 * Blocks of random bits, so that every code and every nested scale comes up, with scales that are finite.
 * @param random uniform in [0, 1)
 * @param exponents of the f16 scales, biased: 0 are subnormal, 30 the largest
 */
export function randomBlocks(
  type: string,
  count: number,
  random: () => number,
  exponents: readonly [number, number] = [0, 30],
): Uint8Array<ArrayBuffer> {
  const { bytes: size, halves } = BLOCK_TYPES[type]!;
  const bytes = Uint8Array.from({ length: count * size }, () => Math.floor(random() * 256));
  const view = new DataView(bytes.buffer);
  const [lowest, highest] = exponents;
  for (let block = 0; block < count; block++) {
    for (const at of halves) {
      const exponent = lowest + Math.floor(random() * (highest - lowest + 1));
      const others = view.getUint16(block * size + at, true) & 0x83ff;
      view.setUint16(block * size + at, others | (exponent << 10), true);
    }
  }
  return bytes;
}

/** The number that an IEEE half is: 1 sign bit, 5 exponent bits (bias 15), 10 fraction bits. */
function f16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 0x3ff) / 1024;
  if (exponent === 0) return sign * fraction * 2 ** -14;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction) * 2 ** (exponent - 15);
}
