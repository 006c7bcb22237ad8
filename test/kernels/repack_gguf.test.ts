/** From GGUF's blocks to every weight format: against numbers of gguf-py, and against a plain decoder on random bits. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { decodeBlocks, randomBlocks } from "../../src/kernels/gguf_blocks.ts";
import { movesInto, Repack, repackShape } from "../../src/kernels/repack.ts";
import {
  GGUF_BLOCK_TYPES,
  type GgufBlockType,
  isFloat,
  rowBytes,
  SOURCE_LAYOUTS,
  type SourceType,
} from "../../src/kernels/source_type.ts";
import { decodeMatrix, halfBits, packMatrix, unpackMatrix } from "../../src/kernels/weight_codec.ts";
import {
  type BlockFormat,
  formatName,
  scaleBytes,
  type WeightFormat,
  weightBytes,
} from "../../src/kernels/weight_format.ts";
import { seeded } from "../reference/random.ts";
import { SLOW } from "../slow.ts";
import { expectSameBits, openBench, POISON, type Words } from "./harness.ts";

const bench = openBench();

const F32: WeightFormat = { type: "f32" };
const TYPES = GGUF_BLOCK_TYPES;

/** Where the first f16 of a block lies. */
const FIRST_SCALE = Object.fromEntries(
  TYPES.map((type) => [type, { Q2_K: 80, Q3_K: 108, Q6_K: 208 }[type as string] ?? 0]),
) as Record<GgufBlockType, number>;

/** The same format with scales of another type. */
const withScale = (format: BlockFormat, scale: "f16" | "f32"): BlockFormat => ({ ...format, scale });

/** What can be moved: the exact format, and where its scales are f16 the one with f32. */
const MOVES = TYPES.flatMap((type) => {
  const exact = SOURCE_LAYOUTS[type].exact as BlockFormat;
  return [exact, ...(exact.scale === "f16" ? [withScale(exact, "f32")] : [])].map(
    (format) => [type, formatName(format), format] as const,
  );
});

interface Run {
  rows: number;
  K: number;
  firstColumn?: number;
  columns?: number;
}

interface Packed {
  weight: Words;
  scales: Words;
}

/** Lays rows of blocks, or of F32, into a matrix full of poison. */
async function repack(type: SourceType, format: WeightFormat, bytes: Uint8Array, run: Run): Promise<Packed> {
  const { rows, K, firstColumn = 0, columns = rows } = run;
  const source = new Uint8Array(Math.ceil(bytes.length / 4) * 4).fill(0xff);
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

/** The numbers of a matrix that was laid, in doubles. */
async function numbersOf(type: SourceType, format: WeightFormat, bytes: Uint8Array, run: Run): Promise<Float64Array> {
  const { weight, scales } = await repack(type, format, bytes, run);
  return decodeMatrix(format, weight, scales, run.K, run.rows);
}

/** Fails unless the numbers, rounded to f32, are the expected ones within a unit in the last place. */
function expectExact(actual: Float64Array, expected: ArrayLike<number>, what: string): void {
  for (const [i, value] of actual.entries()) {
    const [found, wanted] = [Math.fround(value), Math.fround(expected[i]!)];
    if (!(Math.abs(found - wanted) <= Math.abs(wanted) * 2 ** -23)) {
      expect.fail(`${what}: element ${i} is ${found}, expected ${wanted}`);
    }
  }
}

describe("the oracle's numbers, exact to a unit in the last place", () => {
  const file = readFileSync(join(import.meta.dirname, "../assets/gguf-quants.safetensors"));
  const dataStart = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, dataStart)) as Record<
    string,
    { shape: [number, number]; data_offsets: [number, number] }
  >;
  const tensor = (name: string) => {
    const { shape, data_offsets } = header[name]!;
    return { shape, bytes: new Uint8Array(file.subarray(dataStart + data_offsets[0], dataStart + data_offsets[1])) };
  };
  const types = Object.keys(header).flatMap((name) => (name.endsWith(".blocks") ? [name.slice(0, -7)] : []));

  test("there are numbers for every type but F32", () => {
    expect([...types, "F32"].sort()).toEqual(Object.keys(SOURCE_LAYOUTS).sort());
  });

  test.each(types as SourceType[])("%s: in the exact format, in f32, and by the tests' own decoder", async (type) => {
    const blocks = tensor(`${type}.blocks`);
    const values = tensor(`${type}.values`);
    const [rows, K] = values.shape;
    expect(blocks.shape[1]).toBe(rowBytes(type, K));
    const expected = new Float32Array(values.bytes.buffer);
    const { exact } = SOURCE_LAYOUTS[type];
    expectExact(await numbersOf(type, exact, blocks.bytes, { rows, K }), expected, `${type} as ${formatName(exact)}`);
    expectExact(await numbersOf(type, F32, blocks.bytes, { rows, K }), expected, `${type} as f32`);
    if (!isFloat(type)) expectExact(decodeBlocks(type, blocks.bytes), expected, `${type} in TypeScript`);
  });
});

/** Rows of at least two blocks, odd numbers of them too. */
const sizes = (type: SourceType) => [1, 2, 3, 5].map((blocks) => blocks * SOURCE_LAYOUTS[type].elements);

test.each(MOVES)("%s moves into %s: any bits, any shape, its own columns and no others", (type, _, format) =>
  seeded(async (random) => {
    expect(movesInto(type, format)).toBe(true);
    for (const K of sizes(type)) {
      const rows = random.pick([1, 3, 70]);
      const firstColumn = random.int(0, 40);
      const columns = firstColumn + rows + random.int(0, 40);
      const what = `${rows} rows of ${K} at column ${firstColumn} of ${columns}`;
      const bytes = randomBlocks(type, (rows * K) / SOURCE_LAYOUTS[type].elements, () => random.uniform());
      const { weight, scales } = await repack(type, format, bytes, { rows, K, firstColumn, columns });
      const contents = unpackMatrix(format, weight, scales, K, columns);
      const decoded = decodeMatrix(format, weight, scales, K, columns);
      const own = decoded.subarray(firstColumn * K, (firstColumn + rows) * K);
      expectExact(own, decodeBlocks(type, bytes), what);
      // Whatever is not a row's column is poison still, and padding is zero.
      const held = new Uint32Array(weight.length).fill(POISON);
      const heldScales = new Uint32Array(scales.length).fill(POISON);
      const before = unpackMatrix(format, held, heldScales, K, columns);
      for (const key of ["elements", "scales", "minima"] as const) {
        const perColumn = contents[key].length / columns;
        before[key].set(
          contents[key].subarray(firstColumn * perColumn, (firstColumn + rows) * perColumn),
          firstColumn * perColumn,
        );
        expect(contents[key], `${what}: ${key}`).toEqual(before[key]);
      }
      if (columns > rows) continue;
      const packed = packMatrix(format, K, columns, contents);
      expectSameBits(weight, packed.weight, `${what}: weight`);
      expectSameBits(scales, packed.scales, `${what}: scales`);
    }
  })(),
);

test.each(TYPES)("%s in f32 and f16: the numbers, rounded once", (type) =>
  seeded(async (random) => {
    for (const K of sizes(type)) {
      const rows = random.pick([1, 3, 70]);
      const bytes = randomBlocks(type, (rows * K) / SOURCE_LAYOUTS[type].elements, () => random.uniform());
      const values = await numbersOf(type, F32, bytes, { rows, K });
      expectExact(values, decodeBlocks(type, bytes), `${rows} rows of ${K}`);
      const { weight } = await repack(type, { type: "f16" }, bytes, { rows, K });
      const halves = unpackMatrix({ type: "f16" }, weight, new Uint32Array(1), K, rows).elements;
      expect(Array.from(halves, halfBits)).toEqual(Array.from(values, halfBits));
    }
  })(),
);

/** Formats a model is loaded in, one with a minimum, and where time does not matter some that no type moves into. */
const OTHERS: BlockFormat[] = [
  { type: "q8", codes: "minimum", block: 16, scale: "f32" },
  { type: "q4", codes: "codebook", block: 16, scale: "f16", codebook: Array.from({ length: 16 }, (_, i) => i - 8) },
];
const TARGETS: BlockFormat[] = [
  { type: "q8", codes: "symmetric", block: 32, scale: "f16" },
  { type: "q4", codes: "symmetric", block: 32, scale: "f16" },
  { type: "q4", codes: "minimum", block: 32, scale: "f16" },
  ...(SLOW ? OTHERS : []),
];

test.each(TYPES)("%s in another format is quantised as its numbers in F32 are", (type) =>
  seeded(async (random) => {
    for (const format of TARGETS) {
      if (movesInto(type, format)) continue;
      const [rows, K] = [9, 3 * SOURCE_LAYOUTS[type].elements];
      const bytes = randomBlocks(type, (rows * K) / SOURCE_LAYOUTS[type].elements, () => random.uniform(), [5, 20]);
      const numbers = Float32Array.from(await numbersOf(type, F32, bytes, { rows, K }));
      const actual = await repack(type, format, bytes, { rows, K });
      const expected = await repack("F32", format, new Uint8Array(numbers.buffer), { rows, K });
      expectSameBits(actual.weight, expected.weight, `${formatName(format)}: weight`);
      expectSameBits(actual.scales, expected.scales, `${formatName(format)}: scales`);
    }
  })(),
);

test("what moves: the same codes, with scales of a type that holds the file's", () => {
  const q4_0 = SOURCE_LAYOUTS.Q4_0.exact as BlockFormat;
  const q4K = SOURCE_LAYOUTS.Q4_K.exact as BlockFormat;
  const nl = SOURCE_LAYOUTS.IQ4_NL.exact as BlockFormat;
  expect(movesInto("Q4_0", withScale(q4_0, "f32"))).toBe(true);
  expect(movesInto("Q4_K", withScale(q4K, "f16"))).toBe(false);
  expect(movesInto("Q4_1", q4_0)).toBe(false);
  expect(movesInto("Q4_0", { ...q4_0, block: 16 })).toBe(false);
  expect(movesInto("IQ4_NL", { ...nl, codebook: nl.codebook!.toReversed() })).toBe(false);
  expect(movesInto("F32", { type: "f32" })).toBe(false);
});

test.each(TYPES)("%s: a scale that is no number shows, whatever it becomes", async (type) => {
  const { elements, bytes: size, exact } = SOURCE_LAYOUTS[type];
  const random = () => 0.4;
  for (const bad of [0x7c00, 0xfc00, 0x7e00]) {
    const bytes = randomBlocks(type, 2, random, [10, 20]);
    new DataView(bytes.buffer).setUint16(size + FIRST_SCALE[type], bad, true);
    for (const format of [exact, F32, ...TARGETS]) {
      const numbers = await numbersOf(type, format, bytes, { rows: 1, K: 2 * elements });
      expect([...numbers.subarray(0, elements)].every(Number.isFinite), `${formatName(format)}: block 0`).toBe(true);
      expect([...numbers.subarray(elements)].every(Number.isFinite), `${formatName(format)}: block 1`).toBe(false);
    }
  }
});

test("blocks are even bytes long, so two rows are whole words", () => {
  for (const type of TYPES) expect(SOURCE_LAYOUTS[type].bytes % 2).toBe(0);
});
