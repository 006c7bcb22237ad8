/** The self-check of the embedding: does it find the rows of their ids, and leave those of others alone, on this device? */

import type { Device } from "../gpu/device.ts";
import { NONE } from "./constants.ts";
import { Embedding, embeddingShape } from "./embedding.ts";
import { streamStride } from "./matmul_form.ts";
import { checkNumbers } from "./matmul_probe.ts";
import { chainOf, encodeRanges, encodeRows } from "./rows.ts";
import { firstDifference, requireRight, runTrial } from "./trial_run.ts";
import { randomMatrix } from "./weight_codec.ts";
import { isBlockFormat, paddedSize, type WeightFormat } from "./weight_format.ts";

/** More vec4 than a workgroup has threads, and no whole number of the steps and blocks of any format. */
const HIDDEN_SIZE = 268;
/** The matrix is the last part of a vocabulary: ids 5 to 44. */
const PART = { firstId: 5, columns: 40, vocabSize: 45 };
/** Below the part; its first, some, its last; what is no id and reads the last; the one before the part, in no row of it. */
const TOKENS = [0, 5, 23, 24, 44, NONE, 4, 30];
const RANGE = { first: 1, count: 6 };
/** A factor that rounds nothing. */
const SCALE = 2;
/** What the stream holds before. */
const BEFORE = 77;
/** An element of block codes is below 4 here: a product, a sum, each rounded to one of two neighbours. */
const BLOCK_BOUND = 2 ** -20;

/** @throws GpuError when the embedding of a matrix of this format cannot be compiled or computes wrong on this device */
export async function checkEmbedding(device: Device, format: WeightFormat): Promise<void> {
  const kernel = new Embedding(device, format);
  await kernel.prepare();
  const random = checkNumbers();
  const matrix = randomMatrix(format, HIDDEN_SIZE, PART.columns, random);
  const normWeight = Float32Array.from({ length: HIDDEN_SIZE }, () => 4 * random() - 2);
  const before = new Float32Array(TOKENS.length * streamStride(HIDDEN_SIZE)).fill(BEFORE);
  const [words] = await runTrial(device, "embedding check", ({ recorder, storage, uniform }) => {
    const stream = storage("stream", before);
    const group = kernel.bind({
      range: uniform("range", encodeRanges([RANGE])),
      shape: uniform("shape", embeddingShape({ hiddenSize: HIDDEN_SIZE, ...PART, scale: SCALE })),
      rows: storage("rows", encodeRows(chainOf(TOKENS, 0))),
      weight: storage("weight", matrix.weight),
      scales: storage("scales", matrix.scales),
      normWeight: storage("norm weight", normWeight),
      stream,
    });
    // One row more than there are: the range counts.
    kernel.dispatch(recorder, group, { range: 0, count: RANGE.count + 1, end: 0 }, HIDDEN_SIZE);
    return [stream];
  });

  const expected = Float64Array.from(before);
  const tolerance = new Float64Array(before.length);
  for (let row = RANGE.first; row < RANGE.first + RANGE.count; row++) {
    const column = Math.min(TOKENS[row]!, PART.vocabSize - 1) - PART.firstId;
    if (column < 0) continue;
    const at = row * streamStride(HIDDEN_SIZE);
    const bound = isBlockFormat(format) ? BLOCK_BOUND : 0;
    for (let k = 0; k < HIDDEN_SIZE; k++) {
      const value = SCALE * matrix.values[column * HIDDEN_SIZE + k]!;
      const gained = at + paddedSize(HIDDEN_SIZE) + k;
      expected[at + k] = value;
      expected[gained] = value * normWeight[k]!;
      tolerance[at + k] = bound;
      tolerance[gained] = bound * Math.abs(normWeight[k]!) + 2 ** -22 * Math.abs(expected[gained]!);
    }
  }
  const nameOf = (i: number) => `stream, row ${Math.floor(i / streamStride(HIDDEN_SIZE))}, number ${i}`;
  requireRight(kernel.name, firstDifference(new Float32Array(words!.buffer), expected, nameOf, tolerance));
}
