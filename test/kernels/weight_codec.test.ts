/** The host's twin of the weight formats, against layouts spelt out by hand. */

import { describe, expect, test } from "vitest";
import { decodeMatrix, half, halfBits, packMatrix, randomMatrix } from "../../src/kernels/weight_codec.ts";
import {
  type BlockFormat,
  formatName,
  scaleBytes,
  type WeightFormat,
  weightBytes,
} from "../../src/kernels/weight_format.ts";
import { seeded } from "../reference/random.ts";

const hex = (words: Uint32Array) => [...words].map((word) => word.toString(16).padStart(8, "0"));

/** 0, 1, 2, ... on to `count - 1`, shifted by `from`. */
const counting = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

describe("where elements lie, two columns", () => {
  test("f32: a step is four elements of a column, columns side by side", () => {
    const elements = [1, 2, 3, 4, 5, 6, 7, 8, -1, -2, -3, -4, -5, -6, -7, -8]; // two columns of eight
    const { weight, scales } = packMatrix({ type: "f32" }, 8, 2, { elements });
    expect([...new Float32Array(weight.buffer)]).toEqual([1, 2, 3, 4, -1, -2, -3, -4, 5, 6, 7, 8, -5, -6, -7, -8]);
    expect(scales.length).toBe(1);
  });

  test("f16: element j in the low half of word j, element 4 + j in the high half; the tail is zero", () => {
    const elements = [1, 2, 3, 4, 0.5, 0.25, 0.125, 0.0625, -1, -2, -3, -4, ...Array(12).fill(0)]; // columns of twelve
    const { weight } = packMatrix({ type: "f16" }, 12, 2, { elements });
    const [zero, step] = [Array(4).fill("00000000"), ["38003c00", "34004000", "30004200", "2c004400"]];
    expect(hex(weight)).toEqual([...step, ...zero, "0000bc00", "0000c000", "0000c200", "0000c400", ...zero]);
  });

  test("q8 symmetric: word j holds elements j, 4 + j, 8 + j, 12 + j as int8, lowest byte first", () => {
    const format: BlockFormat = { type: "q8", codes: "symmetric", block: 16, scale: "f32" };
    const elements = [...counting(16), ...counting(16, -16)];
    const { weight } = packMatrix(format, 16, 2, { elements, scales: [1, 1] });
    expect(hex(weight)).toEqual(
      ["0c080400", "0d090501", "0e0a0602", "0f0b0703"].concat("fcf8f4f0", "fdf9f5f1", "fefaf6f2", "fffbf7f3"),
    );
  });

  test("q4 symmetric: word j holds elements j, 4 + j, ... 28 + j, each plus 8, lowest nibble first; the tail is zero", () => {
    const format: BlockFormat = { type: "q4", codes: "symmetric", block: 32, scale: "f32" };
    const elements = [...counting(16, -8), ...counting(4, -8)]; // one column of twenty
    const { weight } = packMatrix(format, 20, 1, { elements, scales: [1] });
    expect(hex(weight)).toEqual(
      ["0000c840", "0001d951", "0002ea62", "0003fb73"].map((word, j) => {
        // Elements 16 .. 19 are -8 .. -5: nibbles 0 .. 3 of place 4.
        return word.slice(0, 3) + j + word.slice(4);
      }),
    );
  });

  test("codes of a minimum or a codebook are stored as they are", () => {
    const minimum: BlockFormat = { type: "q4", codes: "minimum", block: 32, scale: "f32" };
    const codebook: BlockFormat = { ...minimum, codes: "codebook", codebook: counting(16) };
    const contents = { elements: counting(16), scales: [1], minima: [0] };
    for (const format of [minimum, codebook]) {
      expect(hex(packMatrix(format, 16, 1, contents).weight)).toEqual(["0000c840", "0000d951", "0000ea62", "0000fb73"]);
    }
  });
});

describe("where scales lie, two columns of three blocks", () => {
  const contents = {
    elements: Array(2 * 96).fill(0),
    scales: [1, 2, 4, -1, -2, -4],
    minima: [0.5, 0.25, 0.125, -0.5, -0.25, -0.125],
  };

  test("f32: block by block, columns side by side", () => {
    const { scales } = packMatrix({ type: "q4", codes: "symmetric", block: 32, scale: "f32" }, 96, 2, contents);
    expect([...new Float32Array(scales.buffer)]).toEqual([1, -1, 2, -2, 4, -4]);
  });

  test("f16: an even block in the low half, the odd one behind it in the high half; what pads a pair is zero", () => {
    const { scales } = packMatrix({ type: "q4", codes: "symmetric", block: 32, scale: "f16" }, 96, 2, contents);
    expect(hex(scales)).toEqual(["40003c00", "c000bc00", "00004400", "0000c400"]);
  });

  test("f32 with minima: (scale, minimum) of a block and column", () => {
    const { scales } = packMatrix({ type: "q4", codes: "minimum", block: 32, scale: "f32" }, 96, 2, contents);
    expect([...new Float32Array(scales.buffer)]).toEqual([1, 0.5, -1, -0.5, 2, 0.25, -2, -0.25, 4, 0.125, -4, -0.125]);
  });

  test("f16 with minima: scale in the low half, minimum in the high half", () => {
    const { scales } = packMatrix({ type: "q4", codes: "minimum", block: 32, scale: "f16" }, 96, 2, contents);
    expect(hex(scales)).toEqual(["38003c00", "b800bc00", "34004000", "b400c000", "30004400", "b000c400"]);
  });

  test("a last step that is not full has the scales of its blocks, and zeros behind them", () => {
    const format: BlockFormat = { type: "q4", codes: "symmetric", block: 16, scale: "f32" };
    const { scales } = packMatrix(format, 36, 1, { elements: Array(36).fill(0), scales: [1, 2, 4] });
    expect([...new Float32Array(scales.buffer)]).toEqual([1, 2, 4, 0]);
  });
});

test("half precision: every pattern comes back, and what lies between two goes to the nearer, ties to the even one", () => {
  for (let bits = 0; bits < 0x7c00; bits++) {
    const value = half(bits);
    for (const sign of [0, 0x8000]) {
      const signed = sign ? -value : value;
      if (!Object.is(half(bits | sign), signed) || halfBits(signed) !== (bits | sign)) expect.fail(`pattern ${bits}`);
    }
    const next = bits + 1 === 0x7c00 ? 65536 : half(bits + 1);
    const middle = (value + next) / 2;
    const little = (next - value) * 2 ** -20;
    const rounded = [middle - little, middle, middle + little].map(halfBits);
    const expected = [bits, bits + (bits & 1), bits + 1];
    if (rounded.join() !== expected.join()) expect.fail(`above pattern ${bits}: ${rounded}, expected ${expected}`);
  }
  expect([halfBits(Infinity), halfBits(-1e9), half(0x7c00), half(0xfc00)]).toEqual([
    0x7c00,
    0xfc00,
    Infinity,
    -Infinity,
  ]);
  expect([half(0x7e00), half(halfBits(NaN))]).toEqual([NaN, NaN]);
  expect([half(1), half(0x3555), half(0x7bff)]).toEqual([2 ** -24, 0.333251953125, 65504]);
});

/** Every format there is. */
const FORMATS: WeightFormat[] = [
  { type: "f32" },
  { type: "f16" },
  ...(["q8", "q4"] as const).flatMap((type) =>
    (["symmetric", "minimum", "codebook"] as const).flatMap((codes) =>
      ([16, 32] as const).flatMap((block) =>
        (["f16", "f32"] as const).map(
          (scale): BlockFormat => ({
            type,
            codes,
            block,
            scale,
            ...(codes === "codebook" && { codebook: counting(type === "q8" ? 256 : 16).map((i) => (i - 7.5) ** 3) }),
          }),
        ),
      ),
    ),
  ),
];

test.each(FORMATS.map((format) => [formatName(format), format] as const))(
  "%s: a random matrix decodes to its values",
  (_, format) =>
    seeded((random) => {
      for (const inputSize of [4, 36, 172]) {
        const columns = random.int(1, 5);
        const { weight, scales, values } = randomMatrix(format, inputSize, columns, () => random.uniform());
        expect(weight.byteLength).toBe(weightBytes(format, inputSize, columns));
        expect(scales.byteLength).toBe(scaleBytes(format, inputSize, columns));
        expect(decodeMatrix(format, weight, scales, inputSize, columns)).toEqual(values);
        expect(values.every((value) => Math.abs(value) <= 1.5)).toBe(true);
        expect(new Set(values).size).toBeGreaterThan(values.length / 40);
      }
    })(),
);

test("codes become numbers: scale times code, plus the minimum", () => {
  const elements = counting(8, -4);
  const scales = [0.5];
  const decoded = (format: WeightFormat, contents: { elements: number[]; minima?: number[] }) => {
    const packed = packMatrix(format, contents.elements.length, 1, { scales, ...contents });
    return [...decodeMatrix(format, packed.weight, packed.scales, contents.elements.length, 1)];
  };
  for (const type of ["q8", "q4"] as const) {
    const format: BlockFormat = { type, codes: "symmetric", block: 16, scale: "f16" };
    expect(decoded(format, { elements })).toEqual([-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5]);
    const affine = { elements: [0, 15], minima: [-3] };
    expect(decoded({ ...format, codes: "minimum" }, affine)).toEqual([-3, 4.5]);
    const codebook = counting(16).map((i) => 10 * i - 50);
    expect(decoded({ ...format, codes: "codebook", codebook }, { elements: [0, 5, 15] })).toEqual([-25, 0, 50]);
  }
  expect(decoded({ type: "q8", codes: "symmetric", block: 16, scale: "f16" }, { elements: [-128, 127] })).toEqual([
    -64, 63.5,
  ]);
  expect(decoded({ type: "q8", codes: "minimum", block: 16, scale: "f16" }, { elements: [255], minima: [1] })).toEqual([
    128.5,
  ]);
});
