/**
 * The host's twin of GGUF's blocks (shaders/weights/gguf/README.md): the code, scale and minimum of each element, in double
 * precision, for tests and for the trial of repacking on the device.
 *
 * Source: `ggml-common.h` and the `dequantize_row_*` functions of `ggml-quants.c`, https://github.com/ggml-org/llama.cpp.
 */

import { type GgufBlockType, IQ4_LEVELS, SOURCE_LAYOUTS } from "./source_type.ts";
import { half } from "./weight_codec.ts";

/** An element of a block is scale * level + minimum. */
export interface BlockElement {
  scale: number;
  /** Its code: with its sign where codes are symmetric, a place in the codebook where there is one. */
  code: number;
  level: number;
  minimum: number;
}

/** What a type of blocks tells of an element; absent: a minimum of 0, a level that is the code itself. */
interface Element {
  scale: number;
  code: number;
  level?: number;
  minimum?: number;
}

interface BlockType {
  /** Byte offsets of the f16 scales. */
  halves: readonly number[];
  element(block: DataView, e: number): Element;
}

const iq4 = (code: number) => ({ code, level: IQ4_LEVELS[code]! });

const halfAt = (block: DataView, at: number) => half(block.getUint16(at, true));

/** Nibble of element e of 32 in 16 bytes. */
const nibble = (block: DataView, at: number, e: number) => (block.getUint8(at + (e % 16)) >> (e < 16 ? 0 : 4)) & 15;

const bit = (block: DataView, at: number, e: number) => (block.getUint8(at + (e >> 3)) >> (e & 7)) & 1;

/** Scale and minimum of group j of Q4_K and Q5_K, of which a block has 8 with 6 bits each (`get_scale_min_k4`). */
function ofGroup(block: DataView, j: number): { scale: number; minimum: number } {
  const q = (i: number) => block.getUint8(4 + i);
  const [scale, minimum] =
    j < 4
      ? [q(j) & 63, q(j + 4) & 63]
      : [(q(j + 4) & 15) | ((q(j - 4) >> 6) << 4), (q(j + 4) >> 4) | ((q(j) >> 6) << 4)];
  return { scale: halfAt(block, 0) * scale, minimum: -halfAt(block, 2) * minimum };
}

/** Scale of group j of Q3_K, whose 16 scales are 64 + 32 bits. */
function threeK(block: DataView, at: number, j: number): number {
  const low = (block.getUint8(at + (j % 8)) >> (j < 8 ? 0 : 4)) & 15;
  const high = (block.getUint8(at + 8 + (j % 4)) >> (2 * Math.floor(j / 4))) & 3;
  return low + 16 * high - 32;
}

const BLOCK_TYPES: Readonly<Record<GgufBlockType, BlockType>> = {
  Q4_0: {
    halves: [0],
    element: (b, e) => ({ scale: halfAt(b, 0), code: nibble(b, 2, e) - 8 }),
  },
  Q4_1: {
    halves: [0, 2],
    element: (b, e) => ({ scale: halfAt(b, 0), code: nibble(b, 4, e), minimum: halfAt(b, 2) }),
  },
  Q5_0: {
    halves: [0],
    element: (b, e) => ({ scale: halfAt(b, 0), code: nibble(b, 6, e) + 16 * bit(b, 2, e) - 16 }),
  },
  Q5_1: {
    halves: [0, 2],
    element: (b, e) => ({ scale: halfAt(b, 0), code: nibble(b, 8, e) + 16 * bit(b, 4, e), minimum: halfAt(b, 2) }),
  },
  Q8_0: {
    halves: [0],
    element: (b, e) => ({ scale: halfAt(b, 0), code: b.getInt8(2 + e) }),
  },
  Q2_K: {
    halves: [80, 82],
    element(b, e) {
      const nested = b.getUint8(e >> 4);
      const code = (b.getUint8(16 + 32 * (e >> 7) + (e % 32)) >> (2 * ((e >> 5) % 4))) & 3;
      return { scale: halfAt(b, 80) * (nested & 15), code, minimum: -halfAt(b, 82) * (nested >> 4) };
    },
  },
  Q3_K: {
    halves: [108],
    element(b, e) {
      const low = (b.getUint8(32 + 32 * (e >> 7) + (e % 32)) >> (2 * ((e >> 5) % 4))) & 3;
      const high = (b.getUint8(e % 32) >> (e >> 5)) & 1;
      return { scale: halfAt(b, 108) * threeK(b, 96, e >> 4), code: low + 4 * high - 4 };
    },
  },
  Q4_K: {
    halves: [0, 2],
    element(b, e) {
      const group = e >> 5;
      const code = (b.getUint8(16 + 32 * (group >> 1) + (e % 32)) >> (4 * (group % 2))) & 15;
      return { ...ofGroup(b, group), code };
    },
  },
  Q5_K: {
    halves: [0, 2],
    element(b, e) {
      const group = e >> 5;
      const low = (b.getUint8(48 + 32 * (group >> 1) + (e % 32)) >> (4 * (group % 2))) & 15;
      const high = (b.getUint8(16 + (e % 32)) >> group) & 1;
      return { ...ofGroup(b, group), code: low + 16 * high };
    },
  },
  Q6_K: {
    halves: [208],
    element(b, e) {
      const [part, within] = [e >> 7, e % 128];
      const low = (b.getUint8(64 * part + (within % 64)) >> (within < 64 ? 0 : 4)) & 15;
      const high = (b.getUint8(128 + 32 * part + (within % 32)) >> (2 * (within >> 5))) & 3;
      return { scale: halfAt(b, 208) * b.getInt8(192 + (e >> 4)), code: low + 16 * high - 32 };
    },
  },
  IQ4_NL: {
    halves: [0],
    element: (b, e) => ({ scale: halfAt(b, 0), ...iq4(nibble(b, 2, e)) }),
  },
  IQ4_XS: {
    halves: [0],
    element(b, e) {
      const group = e >> 5;
      const low = (b.getUint8(4 + (group >> 1)) >> (4 * (group % 2))) & 15;
      const high = (b.getUint16(2, true) >> (2 * group)) & 3;
      return { scale: halfAt(b, 0) * (low + 16 * high - 32), ...iq4(nibble(b, 8 + 16 * group, e % 32)) };
    },
  },
};

/** Every element of a run of blocks. */
export function* blockElements(type: GgufBlockType, bytes: Uint8Array): Generator<BlockElement> {
  const { elements, bytes: size } = SOURCE_LAYOUTS[type];
  for (let at = 0; at < bytes.length; at += size) {
    const block = new DataView(bytes.buffer, bytes.byteOffset + at, size);
    for (let e = 0; e < elements; e++) {
      const { scale, code, level = code, minimum = 0 } = BLOCK_TYPES[type].element(block, e);
      yield { scale, code, level, minimum };
    }
  }
}

/** The numbers of a run of blocks. */
export function decodeBlocks(type: GgufBlockType, bytes: Uint8Array): Float64Array<ArrayBuffer> {
  return Float64Array.from(blockElements(type, bytes), ({ scale, level, minimum }) => scale * level + minimum);
}

/**
 * Blocks of random bits, so that every code and every nested scale comes up, with scales that are finite.
 * @param random uniform in [0, 1)
 * @param exponents of the f16 scales, biased: 0 are subnormal, 30 the largest
 */
export function randomBlocks(
  type: GgufBlockType,
  count: number,
  random: () => number,
  exponents: readonly [number, number] = [0, 30],
): Uint8Array<ArrayBuffer> {
  const { bytes: size } = SOURCE_LAYOUTS[type];
  const { halves } = BLOCK_TYPES[type];
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
