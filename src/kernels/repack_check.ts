/**
 * The self-check of repacking: do a file's numbers land where they should, rounded, as codes, or with the codes that they have,
 * on this device? The host's twins (weight_codec.ts, gguf_blocks.ts) say what the matrix must hold, bit for bit.
 *
 * The columns are those of several tensors: one in plain order, and two whose heads are in other orders, one of them in two
 * chunks.
 */

import type { Device } from "../gpu/device.ts";
import { headPlace } from "../model/head_order.ts";
import type { HeadOrder } from "../model/spec.ts";
import { checkNumbers } from "./matmul_probe.ts";
import { Repack, repackShape } from "./repack.ts";
import { type ProbeRows, probeInputSize, probeRows } from "./repack_probe.ts";
import { isFloat, rowBytes, type SourceType } from "./source_type.ts";
import { firstDifference, requireRight, runTrial } from "./trial_run.ts";
import { codeRange, decodeMatrix, type PackedMatrix, packMatrix, randomMatrix, unpackMatrix } from "./weight_codec.ts";
import { type BlockFormat, formatName, isBlockFormat, type WeightFormat } from "./weight_format.ts";

/** What a file stores, and the format that it becomes. */
export interface Conversion {
  type: SourceType;
  format: WeightFormat;
}

/** The tensors: rows, and where their heads are in another order, that. More rows than a workgroup has threads. */
const TENSORS: readonly { rows: number; chunks: readonly number[]; order?: HeadOrder }[] = [
  { rows: 67, chunks: [67] },
  { rows: 24, chunks: [13, 11], order: { headDim: 8, rotaryDim: 8, interleaved: true } },
  { rows: 16, chunks: [16], order: { headDim: 8, rotaryDim: 4, interleaved: false } },
];
const ROWS = TENSORS.reduce((sum, { rows }) => sum + rows, 0);
/** Columns of the matrix: the first `FIRST` and the last one are not the tensors'. */
const FIRST = 2;
const COLUMNS = FIRST + ROWS + 1;

/** Runs of rows that a dispatch lays, with the first column of their tensor. */
const CHUNKS = TENSORS.flatMap(({ chunks, order }, tensor) => {
  const before = TENSORS.slice(0, tensor).reduce((sum, { rows }) => sum + rows, 0);
  return chunks.map((rows, i) => {
    const firstRow = chunks.slice(0, i).reduce((sum, count) => sum + count, 0);
    return { rows, firstRow, begin: before + firstRow, firstColumn: FIRST + before, order };
  });
});

/** The column that each row must become. */
const COLUMN_OF = CHUNKS.flatMap(({ rows, firstRow, firstColumn, order }) =>
  Array.from({ length: rows }, (_, i) => {
    const row = firstRow + i;
    if (!order) return firstColumn + row;
    return firstColumn + row - (row % order.headDim) + headPlace(order, row % order.headDim);
  }),
);

/**
 * By how much a scale may be off, as a fraction. One in f16 is the nearest; a device may compute one in f32 to 2.5 units
 * of 2^-24, and the entries of a codebook are rounded to the source's type before it is fitted. What is moved is exact.
 */
function scaleBound({ type }: Conversion, { scale, codes }: BlockFormat): number {
  if (!isFloat(type)) return 0;
  if (codes === "codebook") return 2 ** -7;
  return scale === "f16" ? 0 : 2 ** -21;
}

/** @throws GpuError when the kernel cannot be compiled or computes wrong on this device */
export async function checkRepack(device: Device, conversion: Conversion): Promise<void> {
  const { type, format } = conversion;
  const kernel = new Repack(device, type, format);
  await kernel.prepare();
  const random = checkNumbers();
  const inputSize = probeInputSize(type);
  const given = probeRows(type, format, ROWS, random);
  const held = randomMatrix(format, inputSize, COLUMNS, random);
  const size = rowBytes(type, inputSize);
  const [weight, scales] = await runTrial(device, "repack check", ({ recorder, storage, uniform }) => {
    const buffers = { weight: storage("weight", held.weight), scales: storage("scales", held.scales) };
    for (const { rows, firstRow, begin, firstColumn, order } of CHUNKS) {
      const group = kernel.bind({
        ...buffers,
        shape: uniform("shape", repackShape(rows, inputSize, firstColumn, COLUMNS, firstRow, order)),
        source: storage("source", words(given.bytes.subarray(begin * size, (begin + rows) * size))),
      });
      kernel.dispatch(recorder, group, rows, inputSize);
    }
    return [buffers.weight, buffers.scales];
  });
  const fault = difference(conversion, { weight: weight!, scales: scales! }, held, given);
  requireRight(kernel.name, fault && `${type} to ${formatName(format)}: ${fault}`);
}

/** Bytes in whole words. */
function words(bytes: Uint8Array): Uint32Array<ArrayBuffer> {
  const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  padded.set(bytes);
  return new Uint32Array(padded.buffer);
}

/** Each row's numbers in its column; what is not a column of the tensors stays. */
function inColumns(whole: ArrayLike<number>, rows: ArrayLike<number>): Float64Array<ArrayBuffer> {
  const perColumn = whole.length / COLUMNS;
  const numbers = Float64Array.from(whole);
  for (const [row, column] of COLUMN_OF.entries()) {
    for (let i = 0; i < perColumn; i++) numbers[column * perColumn + i] = rows[row * perColumn + i]!;
  }
  return numbers;
}

const within = (what: string, perColumn: number) => (i: number) =>
  `column ${Math.floor(i / perColumn)}, ${what} ${i % perColumn}`;

/** The first element, scale or minimum of the matrix that is not as expected, or else a word of its padding. */
function difference(
  conversion: Conversion,
  got: PackedMatrix,
  held: PackedMatrix,
  given: ProbeRows,
): string | undefined {
  const { type, format } = conversion;
  const inputSize = probeInputSize(type);
  if (!given.contents) return numbersDiffer(conversion, got, held, given);
  const unpacked = ({ weight, scales }: PackedMatrix) => unpackMatrix(format, weight, scales, inputSize, COLUMNS);
  const before = unpacked(held);
  const expected = packMatrix(format, inputSize, COLUMNS, {
    elements: inColumns(before.elements, given.contents.elements),
    scales: inColumns(before.scales, given.contents.scales),
    minima: inColumns(before.minima, given.contents.minima),
  });
  const [found, wanted] = [unpacked(got), unpacked(expected)];
  const blocks = wanted.scales.length / COLUMNS;
  const bound = isBlockFormat(format) ? scaleBound(conversion, format) : 0;
  const tolerance = wanted.scales.map((scale) => bound * Math.abs(scale));
  // A block's zero times a negative scale has the sign that the device's arithmetic gives it.
  const wholeWords = isFloat(type) || isBlockFormat(format);
  return (
    firstDifference(found.elements, wanted.elements, within("element", inputSize)) ??
    firstDifference(found.scales, wanted.scales, within("scale", blocks), tolerance) ??
    firstDifference(found.minima, wanted.minima, within("minimum", blocks)) ??
    (wholeWords ? firstDifference(got.weight, expected.weight, (i) => `weight, word ${i}`) : undefined)
  );
}

/** The first number that is further from the given one than codes of its block are from each other. */
function numbersDiffer(
  { type, format }: Conversion,
  got: PackedMatrix,
  held: PackedMatrix,
  { numbers }: ProbeRows,
): string | undefined {
  const inputSize = probeInputSize(type);
  const decoded = ({ weight, scales }: PackedMatrix) => decodeMatrix(format, weight, scales, inputSize, COLUMNS);
  const tolerance = inColumns(new Float64Array(COLUMNS * inputSize), steps(format as BlockFormat, numbers));
  const wanted = inColumns(decoded(held), numbers);
  return firstDifference(decoded(got), wanted, within("element", inputSize), tolerance);
}

/** How far the levels of each number's block are apart, and a little: what a scale's rounding adds. */
function steps(format: BlockFormat, numbers: ArrayLike<number>): Float64Array {
  const { block, codes, codebook = [] } = format;
  const { highest, largest } = codeRange(format);
  const gaps = codes === "codebook" ? codebook.slice(1).map((level, i) => level - codebook[i]!) : [1];
  const levels = (codes === "symmetric" && format.type === "q8" ? highest : largest) / Math.max(...gaps);
  const values = Float64Array.from(numbers);
  const apart = new Float64Array(values.length);
  for (let begin = 0; begin < values.length; begin += block) {
    const those = values.subarray(begin, begin + block);
    const [low, high] = [Math.min(...those), Math.max(...those)];
    const reach = codes === "minimum" ? Math.max(high, 0) - Math.min(low, 0) : Math.max(high, -low);
    apart.fill((1.05 * reach) / levels, begin, begin + block);
  }
  return apart;
}
