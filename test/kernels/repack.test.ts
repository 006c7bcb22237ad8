/** From a checkpoint's rows to every weight format, against the codec and against what the best codes would be. */

import { describe, expect, test } from "vitest";
import { Repack, repackShape } from "../../src/kernels/repack.ts";
import type { FloatType } from "../../src/kernels/source_type.ts";
import {
  codeRange,
  decodeMatrix,
  half,
  halfBits,
  packMatrix,
  randomMatrix,
  unpackMatrix,
} from "../../src/kernels/weight_codec.ts";
import {
  type BlockFormat,
  formatName,
  isBlockFormat,
  STEP,
  scaleBytes,
  type WeightFormat,
  weightBytes,
} from "../../src/kernels/weight_format.ts";
import { type Random, seeded } from "../reference/random.ts";
import { toFloat32 } from "../reference/safetensors.ts";
import { bits, expectSameBits, openBench, POISON, type Words } from "./harness.ts";

const bench = openBench();

/** Normal quantiles, as NF4 has them, with other ends: unsorted, and further to one side. */
const CODEBOOK_16 = [0, -1.1, 0.08, -0.7, 0.16, -0.53, 0.25, -0.39, 0.34, -0.28, 0.44, -0.18, 0.56, -0.09, 0.72, 1];
const CODEBOOK_256 = Array.from({ length: 256 }, (_, i) => Math.sign(i - 128) * Math.abs((i - 128) / 9) ** 1.5);

const BLOCK_FORMATS: BlockFormat[] = (["q8", "q4"] as const).flatMap((type) =>
  (["symmetric", "minimum", "codebook"] as const).flatMap((codes) =>
    ([16, 32] as const).flatMap((block) =>
      (["f16", "f32"] as const).map((scale): BlockFormat => {
        const codebook = type === "q4" ? CODEBOOK_16 : CODEBOOK_256;
        return { type, codes, block, scale, ...(codes === "codebook" && { codebook }) };
      }),
    ),
  ),
);
const FORMATS: WeightFormat[] = [{ type: "f32" }, { type: "f16" }, ...BLOCK_FORMATS];
const named = <F extends WeightFormat>(formats: readonly F[]) =>
  formats.map((format) => [formatName(format), format] as const);

interface Run {
  rows: number;
  K: number;
  /** Where the rows land. Default: they fill the matrix. */
  firstColumn?: number;
  columns?: number;
}

interface Packed {
  weight: Words;
  scales: Words;
}

/** Lays `rows` rows of K numbers, given as a checkpoint's bytes, into a matrix full of poison. */
async function repack(type: FloatType, format: WeightFormat, bytes: Uint8Array, run: Run): Promise<Packed> {
  const { rows, K, firstColumn = 0, columns = rows } = run;
  const source = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  source.set(bytes);
  const kernel = new Repack(bench.device, type, format);
  await kernel.prepare();
  const buffers = {
    shape: bench.uniform("shape", repackShape(rows, K, firstColumn, columns)),
    source: bench.upload("source", new Uint32Array(source.buffer)),
    weight: bench.output("weight", weightBytes(format, K, columns) / 4),
    scales: bench.output("scales", scaleBytes(format, K, columns) / 4),
  };
  const group = kernel.bind(buffers);
  const [weight, scales] = await bench.run((r) => kernel.dispatch(r, group, rows, K), buffers.weight, buffers.scales);
  bench.release();
  return { weight, scales };
}

/** The columns [first, first + count) of a matrix alone. */
function columnsOf(
  format: WeightFormat,
  { weight, scales }: Packed,
  columns: number,
  first: number,
  count: number,
): Packed {
  const cut = (words: Words, width: number) =>
    words.filter((_, i) => {
      const column = Math.floor(i / width) % columns;
      return column >= first && column < first + count;
    });
  const wide = isBlockFormat(format) && format.codes === "minimum" && format.scale === "f32" ? 2 : 1;
  return { weight: cut(weight, 4), scales: isBlockFormat(format) ? cut(scales, wide) : scales.slice(0, 0) };
}

/** Random bytes of finite numbers of a type, mixed in size from one run of 16 to the next. */
function numbers(random: Random, type: FloatType, count: number): Uint8Array<ArrayBuffer> {
  const values = random.normals(count);
  for (let i = 0; i < count; i += 16) {
    const scale = 10 ** random.int(-3, 2);
    for (let j = i; j < Math.min(count, i + 16); j++) values[j]! *= scale;
  }
  return as(type, values);
}

/** Numbers as a checkpoint of a type stores them. */
function as(type: FloatType, values: ArrayLike<number>): Uint8Array<ArrayBuffer> {
  const singles = Float32Array.from(values);
  if (type === "F32") return new Uint8Array(singles.buffer);
  const halves = type === "F16" ? Array.from(singles, halfBits) : Array.from(bits(singles), (word) => word >>> 16);
  return new Uint8Array(Uint16Array.from(halves).buffer);
}

/** Unit roundoff of what the kernel computes of a quotient, in steps of the codes: it only decides between equals. */
const SLACK = 2 ** -12;

/**
 * Fails unless every block has the scale and the codes it should have.
 *
 * - The codes are those of least error for the scale and minimum that are stored, so the error is half a step where the
 *   codes reach.
 * - Scales are as large as the block's extent asks, within f16's rounding, half a unit in 11 bits: 2^-11. Among
 *   subnormals, and with minima rounded downwards, one unit of 2^-24, and 2^-10 of the minimum.
 * - No number is further out than half a step beyond the last code, but for the short side of codes -8 .. 7.
 */
function expectBestCodes(format: BlockFormat, packed: Packed, source: Float32Array, K: number, columns: number): void {
  const decoded = decodeMatrix(format, packed.weight, packed.scales, K, columns);
  const { scales, minima } = unpackMatrix(format, packed.weight, packed.scales, K, columns);
  const { type, codes, block, scale: scaleType } = format;
  const blocks = Math.ceil(K / block);
  const book = codes === "codebook" ? Float32Array.from(format.codebook!) : undefined;
  const { lowest, highest } = codeRange(format);
  const symmetric8 = type === "q8" && codes === "symmetric";
  const full = book ? furthest(book) : codes === "minimum" ? highest : symmetric8 ? 127 : -8;
  const unit = scaleType === "f32" ? { relative: 2 ** -21, absolute: 0 } : { relative: 2 ** -11, absolute: 2 ** -24 };
  for (let column = 0; column < columns; column++) {
    for (let b = 0; b < blocks; b++) {
      const from = column * K + b * block;
      const numbers = source.subarray(from, Math.min(from + block, (column + 1) * K));
      const [scale, minimum] = [scales[column * blocks + b]!, minima[column * blocks + b]!];
      const low = numbers.reduce((a, x) => Math.min(a, x));
      const high = numbers.reduce((a, x) => Math.max(a, x));
      const where = `column ${column}, block ${b}: scale ${scale}, minimum ${minimum}`;
      let extent = Math.max(-low, high);
      if (codes === "minimum") {
        const rounding = scaleType === "f32" ? 0 : Math.max(Math.abs(low) * 2 ** -10, unit.absolute);
        if (!(minimum <= low && low - minimum <= rounding)) expect.fail(`${where}: the least number is ${low}`);
        extent = high - minimum;
      }
      const ideal = extent / Math.abs(full);
      if (!(Math.abs(Math.abs(scale) - ideal) <= ideal * unit.relative * 1.01 + unit.absolute)) {
        expect.fail(`${where}: expected a scale of ${ideal}`);
      }
      if (!book && Math.abs(scale) * (Math.abs(full) + 0.5) < extent * (1 - 2 ** -20)) {
        expect.fail(`${where}: the codes do not reach ${extent}`);
      }
      if (codes === "minimum" || symmetric8) expect(scale, where).toBeGreaterThanOrEqual(0);
      else if (low !== -high) expect(Math.sign(scale * full), where).toBe(Math.sign(extent === high ? high : low));
      for (const [i, x] of numbers.entries()) {
        const wanted = scale === 0 ? 0 : (x - minimum) / scale;
        const nearest = book
          ? Math.min(...book.map((entry) => Math.abs(entry - wanted)))
          : Math.abs(wanted - Math.min(highest, Math.max(symmetric8 ? -127 : lowest, Math.round(wanted))));
        const error = Math.abs(decoded[from + i]! - x);
        if (!(error <= (nearest + SLACK * Math.abs(full)) * Math.abs(scale))) {
          expect.fail(`${where}: ${x} became ${decoded[from + i]}, the nearest is ${nearest} steps away`);
        }
      }
    }
  }
}

function furthest(book: Float32Array): number {
  return book.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a));
}

describe("any shape lands in its columns and nowhere else, its padding zero", () => {
  const cases = named(FORMATS).flatMap(([name, format]) =>
    (["F32", "F16", "BF16"] as const).map((type) => [type, name, format] as const),
  );
  test.each(cases)("%s to %s", (type, _, format) =>
    seeded(async (random) => {
      for (const K of [4, 64, 72, 172, 200, 576]) {
        const rows = random.pick([1, 3, 70]);
        const firstColumn = random.pick([0, 1 + 2 * random.int(0, 50)]);
        const columns = firstColumn + rows + random.pick([0, random.int(1, 100)]);
        const bytes = numbers(random, type, rows * K);
        const source = toFloat32(bytes, type, type);
        const packed = await repack(type, format, bytes, { rows, K, firstColumn, columns });
        const what = `${rows} rows of ${K} at column ${firstColumn} of ${columns}`;

        const untouched = [[0, firstColumn] as const, [firstColumn + rows, columns - firstColumn - rows] as const];
        for (const [first, count] of untouched) {
          const { weight, scales } = columnsOf(format, packed, columns, first, count);
          expect(weight.every((word) => word === POISON) && scales.every((word) => word === POISON), what).toBe(true);
        }

        const own = columnsOf(format, packed, columns, firstColumn, rows);
        const contents = isBlockFormat(format)
          ? unpackMatrix(format, own.weight, own.scales, K, rows)
          : { elements: source };
        const expected = packMatrix(format, K, rows, contents); // floats: their values; blocks: the padding
        expectSameBits(own.weight, expected.weight, what);
        if (!isBlockFormat(format)) continue;
        expectSameBits(own.scales, expected.scales, `${what}: scales`);
        expectBestCodes(format, own, source, K, rows);
      }
    })(),
  );
});

test.each(named([{ type: "f16" }, { type: "q8", codes: "symmetric", block: 32, scale: "f16" }]))(
  "%s: parts laid side by side, chunk by chunk, are the whole",
  (_, format) =>
    seeded(async (random) => {
      const [K, columns] = [72, 77];
      const bytes = numbers(random, "BF16", columns * K);
      const whole = await repack("BF16", format, bytes, { rows: columns, K });
      for (let first = 0; first < columns; ) {
        const rows = Math.min(columns - first, random.int(1, 30));
        const rowBytes = bytes.subarray(first * K * 2, (first + rows) * K * 2);
        const part = await repack("BF16", format, rowBytes, { rows, K, firstColumn: first, columns });
        const [actual, expected] = [part, whole].map((matrix) => columnsOf(format, matrix, columns, first, rows));
        expectSameBits(actual!.weight, expected!.weight, "weight");
        expectSameBits(actual!.scales, expected!.scales, "scales");
        first += rows;
      }
    })(),
);

test.each(named<WeightFormat>([{ type: "f32" }, { type: "q8", codes: "symmetric", block: 16, scale: "f32" }]))(
  "%s: a row of more steps than a dispatch has workgroups",
  async (_, format) => {
    const K = STEP[format.type] * 65538;
    const source = Float32Array.from({ length: K }, (_, k) => ((k * 37) % 255) - 127);
    source.fill(127, K - 4); // what only a second walk reaches
    const { weight, scales } = await repack("F32", format, as("F32", source), { rows: 1, K });
    expect([...decodeMatrix(format, weight, scales, K, 1).subarray(K - 4)]).toEqual([127, 127, 127, 127]);
  },
);

describe("floats", () => {
  /** Every 16-bit pattern, so every half or bfloat16 there is. */
  const ALL_HALVES = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);

  /** Fails unless the words are equal; which NaN it is says nothing. */
  function expectSame(actual: Words, expected: Words, isNaNWord: (word: number) => boolean): void {
    const wrong: string[] = [];
    for (const [i, word] of expected.entries()) {
      if (word === actual[i] || (isNaNWord(word) && isNaNWord(actual[i]!))) continue;
      wrong.push(`${word.toString(16)}: ${actual[i]!.toString(16)}`);
    }
    expect(wrong.slice(0, 5)).toEqual([]);
  }

  const isNaN32 = (word: number) => (word & 0x7fffffff) > 0x7f800000;
  const isNaN16 = (word: number) => (word & 0x7fff) > 0x7c00;

  /** The halves of a packed f16 matrix of one column, in order. */
  const halvesOf = (weight: Words) =>
    Uint32Array.from({ length: weight.length * 2 }, (_, k) => {
      const word = weight[4 * Math.floor(k / 8) + (k % 4)]!;
      return k % 8 < 4 ? word & 0xffff : word >>> 16;
    });

  test.each(["F16", "BF16"] as const)("%s to f32: all 65,536 patterns widen exactly", async (type) => {
    const { weight } = await repack(type, { type: "f32" }, ALL_HALVES, { rows: 1, K: 65536 });
    expectSame(weight, bits(Float32Array.from(toFloat32(ALL_HALVES, type, type))), isNaN32);
  });

  test("F16 to f16: all 65,536 patterns stay as they are", async () => {
    const { weight } = await repack("F16", { type: "f16" }, ALL_HALVES, { rows: 1, K: 65536 });
    expectSame(
      halvesOf(weight),
      Uint32Array.from({ length: 65536 }, (_, i) => i),
      isNaN16,
    );
  });

  test("BF16 to f16: all 65,536 patterns go to the nearest half", async () => {
    const { weight } = await repack("BF16", { type: "f16" }, ALL_HALVES, { rows: 1, K: 65536 });
    expectSame(halvesOf(weight), Uint32Array.from(toFloat32(ALL_HALVES, "BF16", ""), halfBits), isNaN16);
  });

  test("F32 to f16: to the nearest half, ties to the even one, subnormals and the way to infinity too", async () => {
    const ends = [0, 2 ** -149, 2 ** -126, 2 ** -25, 2 ** -24, 65504, 65519.996, 65520, 65536, 3e38, Infinity];
    const between = Array.from({ length: 0x7c00 }, (_, i) => {
      const middle = new Float32Array([(half(i) + (i === 0x7bff ? 65536 : half(i + 1))) / 2]);
      const [word] = bits(middle);
      return [-1, 0, 1].map((step) => new Float32Array(Uint32Array.of(word! + step).buffer)[0]!);
    }).flat();
    const all = [...ends, ...ends, ...between, NaN, -0]; // a whole number of vec4
    const values = Float32Array.from(all.slice(0, all.length & ~3), (x, i) => (i % 2 ? x : -x));
    const { weight } = await repack("F32", { type: "f16" }, as("F32", values), { rows: 1, K: values.length });
    expectSame(halvesOf(weight).slice(0, values.length), Uint32Array.from(values, halfBits), isNaN16);
  });

  test("F32 to f32: extremes, zeros of both signs, subnormals, infinities and NaN come through as they are", async () => {
    const large = [3.4028234663852886e38, -3.4028234663852886e38, Infinity, -Infinity];
    const values = Float32Array.of(...large, 2 ** -126, -(2 ** -149), 2 ** -127, NaN, 0, -0, 1 + 2 ** -23, 1 / 3);
    const { weight } = await repack("F32", { type: "f32" }, as("F32", values), { rows: 1, K: 12 });
    expectSameBits(weight, bits(values), "vector");
  });
});

describe("blocks of unusual numbers", () => {
  /** One column whose every block is a copy of `numbers`, cut to the block. */
  async function quantised(format: BlockFormat, numbers: (i: number) => number) {
    const K = 64;
    const source = Float32Array.from({ length: K }, (_, k) => numbers(k % format.block));
    const packed = await repack("F32", format, as("F32", source), { rows: 1, K });
    return { source, packed, K, decoded: decodeMatrix(format, packed.weight, packed.scales, K, 1) };
  }

  const formats = named(BLOCK_FORMATS);
  const range = (format: BlockFormat) => (format.scale === "f16" ? 65504 : 3.4028234663852886e38);

  test.each(formats)("%s: a block of zeros is zeros, codes and scales", async (_, format) => {
    const { packed } = await quantised(format, () => 0);
    expect([...packed.weight, ...packed.scales].every((word) => word === 0)).toBe(true);
  });

  test.each(formats)("%s: a block of one number holds it", async (_, format) => {
    for (const number of [1, -1, 0.02, -1000]) {
      const { packed, source, K, decoded } = await quantised(format, () => number);
      expectBestCodes(format, packed, source, K, 1);
      for (const value of decoded) expect(Math.abs(value / number - 1)).toBeLessThan(2 ** -10);
    }
  });

  test.each(formats)("%s: numbers close together and far from zero", async (_, format) => {
    const { packed, source, K } = await quantised(format, (i) => 10.03 + i / 1000);
    expectBestCodes(format, packed, source, K, 1);
    const below = await quantised(format, (i) => -10.03 - i / 1000);
    expectBestCodes(format, below.packed, below.source, K, 1);
  });

  test.each(formats)("%s: tiny numbers keep their scale, as far as its type has one", async (_, format) => {
    // In f16 the scales are subnormal here, down to the last one.
    for (const size of [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-20]) {
      const { packed, source, K } = await quantised(format, (i) => size * Math.cos(i + 1));
      if (format.codes === "codebook" && format.scale === "f16" && size < 1e-6) continue; // below all its codes
      expectBestCodes(format, packed, source, K, 1);
    }
  });

  test.each(formats)("%s: huge numbers never make an infinity", async (_, format) => {
    for (const size of [60000, 1e6, 1e12, 3.4e38]) {
      const { packed, decoded, source, K } = await quantised(format, (i) => size * Math.cos(1.7 * i));
      const { scales, minima } = unpackMatrix(format, packed.weight, packed.scales, K, 1);
      for (const stored of [...scales, ...minima]) expect(Math.abs(stored)).toBeLessThanOrEqual(range(format));
      // What is beyond the largest scale is cut off, on its own side.
      for (const [i, value] of decoded.entries()) expect(value * source[i]!).toBeGreaterThanOrEqual(0);
    }
  });

  test.each(formats)("%s: an infinity or a NaN shows in its block and in no other", async (_, format) => {
    for (const bad of [Infinity, -Infinity, NaN]) {
      const K = 64;
      const source = Float32Array.from({ length: K }, (_, k) => (k === format.block + 3 ? bad : Math.sin(k)));
      const packed = await repack("F32", format, as("F32", source), { rows: 1, K });
      const decoded = decodeMatrix(format, packed.weight, packed.scales, K, 1);
      for (const [k, value] of decoded.entries()) {
        expect(Number.isNaN(value)).toBe(Math.floor(k / format.block) === 1);
      }
    }
  });
});

describe("what was quantised before comes back as it was", () => {
  const symmetric = BLOCK_FORMATS.filter(({ codes }) => codes === "symmetric");
  test.each(named(symmetric))("%s", (_, format) =>
    seeded(async (random) => {
      const [K, columns] = [200, 9];
      const made = randomMatrix(format, K, columns, () => random.uniform());
      const contents = unpackMatrix(format, made.weight, made.scales, K, columns);
      const blocks = Math.ceil(K / format.block);
      for (let column = 0; column < columns; column++) {
        for (let block = 0; block < blocks; block++) {
          // The largest code is in use, and int8 is -127 .. 127 with a scale that is not negative.
          contents.elements[column * K + block * format.block + random.int(0, 7)] = format.type === "q8" ? 127 : -8;
          const at = column * blocks + block;
          if (format.type === "q8") contents.scales[at] = Math.abs(contents.scales[at]!);
        }
      }
      contents.elements = contents.elements.map((code) => (format.type === "q8" ? Math.max(-127, code) : code));
      const before = packMatrix(format, K, columns, contents);
      const values = decodeMatrix(format, before.weight, before.scales, K, columns);
      const after = await repack("F32", format, as("F32", values), { rows: columns, K });
      expectSameBits(after.weight, before.weight, "weight");
      if (format.scale === "f16") expectSameBits(after.scales, before.scales, "scales");
    })(),
  );
});
