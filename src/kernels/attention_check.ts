/**
 * The self-check of attention: does a kernel compute right on this device, for heads of the model's shape? The counterpart of
 * self_check.ts, which is for products.
 */

import type { Device } from "../gpu/device.ts";
import { attentionShape, chunkCount, type HeadShape, type ScoreRule } from "./attention_shape.ts";
import { PAGE_SLOTS } from "./constants.ts";
import { FewQueryAttention, type FewQueryVariant } from "./few_query_attention.ts";
import type { KvType } from "./kv_format.ts";
import { checkNumbers } from "./matmul_probe.ts";
import { PromptAttention, type PromptVariant } from "./prompt_attention.ts";
import { chainOf, encodeRanges, encodeRows } from "./rows.ts";
import { runTrial } from "./trial_run.ts";
import { halfBits } from "./weight_codec.ts";

const OWNER = "attention check";
/**
 * Rows at positions on both sides of a chunk's edge, the first two of them committed: three chunks, the first of which is
 * shared by all rows, the second in part in flight.
 */
const ROWS = 5;
const START = 125;
const END = START + ROWS;
/** Where the text's pages are in the cache: out of order. */
const PAGES = [2, 0, 1];
const slotOf = (position: number) => PAGES[Math.floor(position / PAGE_SLOTS)]! * PAGE_SLOTS + (position % PAGE_SLOTS);

/**
 * By how much a result may be off, as a fraction of the largest value: WGSL's exp is good to (3 + 2 |x|) units of 2^-23, the
 * scores here stay below 10 or so, and a context of 130 keys adds some more roundings.
 */
const BOUND = 1e-4;

interface AttentionData {
  queries: Float32Array<ArrayBuffer>;
  /** `[END][kvHeads][headDim]`, as the cache holds them. */
  keys: Float32Array<ArrayBuffer>;
  values: Float32Array<ArrayBuffer>;
}

/** Which attention is tried: of generated rows, or of a prompt's. */
export type AttentionUnderTest =
  | { regime: "generated"; variant: FewQueryVariant }
  | { regime: "prompt"; variant: PromptVariant };

/** A window that ends within a chunk and begins within another, of the positions there are. */
const LONGEST_WINDOW = 70;

/**
 * What is wrong with a kernel of attention on this device, or undefined.
 * @param layerRule what a layer of the model does to scores
 */
export async function attentionFault(
  device: Device,
  shape: HeadShape,
  kvType: KvType,
  tried: AttentionUnderTest,
  layerRule: ScoreRule = {},
): Promise<string | undefined> {
  const data = attentionData(shape, kvType);
  const rule = { ...layerRule, ...(layerRule.window && { window: Math.min(layerRule.window, LONGEST_WINDOW) }) };
  const [attended, ...cut] = await run(device, shape, kvType, tried, data, rule);
  // A capped score is off by some units of 2^-23 of the cap, and a weight by as much of itself.
  const bound = BOUND + (rule.softCap ?? 0) * 2 ** -18;
  const { heads, headDim } = shape;
  for (let row = 0; row < ROWS; row++) {
    for (let head = 0; head < heads; head++) {
      const expected = plainAttention(shape, data, row, head, rule);
      for (const [i, value] of expected.entries()) {
        const got = attended![(row * heads + head) * headDim + i]!;
        if (Math.abs(got - value) <= bound) continue; // of values below 1; NaN fails too
        return `row ${row}, head ${head}, element ${i}: ${got}, expected ${value} within ${bound}`;
      }
    }
  }
  // The rule that keeps the bits: a row does not depend on the rows beside it, nor a prompt's on how the prompt was cut.
  const bits = (numbers: Float32Array) => new Uint32Array(numbers.buffer, numbers.byteOffset, numbers.length);
  const whole = bits(attended!);
  for (const other of cut) {
    const differing = bits(other).findIndex((word, i) => word !== whole[i]);
    if (differing >= 0)
      return `the bits of row ${Math.floor(differing / (heads * headDim))} depend on the rows beside it`;
  }
  return undefined;
}

/** Which rows go together, one list a pass over all of them. */
const CUTS = [
  [[0, ROWS]],
  Array.from({ length: ROWS }, (_, row) => [row, 1]),
  [
    [0, 2],
    [2, 3],
  ],
] as const;

/** Softmax of the scores of all keys that the row sees, times their values. */
function plainAttention(
  { heads, kvHeads, headDim }: HeadShape,
  data: AttentionData,
  row: number,
  head: number,
  { scale = 1 / Math.sqrt(headDim), window = Infinity, softCap }: ScoreRule,
): number[] {
  const kvHead = Math.floor(head / (heads / kvHeads));
  const query = data.queries.subarray((row * heads + head) * headDim, (row * heads + head + 1) * headDim);
  const at = (position: number) => (position * kvHeads + kvHead) * headDim;
  const last = START + row;
  const scores = Array.from({ length: last + 1 }, (_, position) => {
    if (position <= last - window) return -Infinity;
    const score = scale * query.reduce((sum, q, i) => sum + q * data.keys[at(position) + i]!, 0);
    return softCap ? softCap * Math.tanh(score / softCap) : score;
  });
  const largest = Math.max(...scores);
  const weights = scores.map((score) => Math.exp(score - largest));
  const total = weights.reduce((a, b) => a + b, 0);
  return Array.from({ length: headDim }, (_, i) =>
    weights.reduce((sum, weight, position) => sum + (weight / total) * data.values[at(position) + i]!, 0),
  );
}

function attentionData({ heads, kvHeads, headDim }: HeadShape, kvType: KvType): AttentionData {
  const random = checkNumbers();
  const numbers = (count: number) => Float32Array.from({ length: count }, () => 2 * random() - 1);
  // Multiples of 2^-8 below 1 are the same in f16.
  const cached = (count: number) => {
    const all = numbers(count);
    return kvType === "f16" ? all.map((x) => Math.round(x * 256) / 256) : all;
  };
  const cacheSize = END * kvHeads * headDim;
  return {
    queries: numbers(ROWS * heads * headDim).map((x) => 4 * x),
    keys: cached(cacheSize),
    values: cached(cacheSize),
  };
}

/** `[END][width]` in their slots; what nobody may look at is NaN. */
function paged(numbers: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const width = numbers.length / END;
  const cache = new Float32Array(PAGES.length * PAGE_SLOTS * width).fill(Number.NaN);
  for (let position = 0; position < END; position++) {
    cache.set(numbers.subarray(position * width, (position + 1) * width), slotOf(position) * width);
  }
  return cache;
}

/** A cache as the kernels read it (kv_format.ts). */
function packed(cache: Float32Array<ArrayBuffer>, headDim: number, kvType: KvType): Uint32Array<ArrayBuffer> {
  if (kvType === "f32") return new Uint32Array(cache.buffer);
  const half = headDim / 2;
  return Uint32Array.from({ length: cache.length / 2 }, (_, i) => {
    const begin = Math.floor(i / half) * headDim + (i % half);
    return halfBits(cache[begin]!) | (halfBits(cache[begin + half]!) << 16);
  });
}

async function run(
  device: Device,
  shape: HeadShape,
  kvType: KvType,
  tried: AttentionUnderTest,
  data: AttentionData,
  rule: ScoreRule,
): Promise<Float32Array[]> {
  const { heads, headDim } = shape;
  const options = { ...shape, kvType };
  const kernel =
    tried.regime === "prompt"
      ? new PromptAttention(device, { ...options, variant: tried.variant })
      : new FewQueryAttention(device, { ...options, variant: tried.variant });
  await kernel.prepare();
  const results = await runTrial(device, OWNER, ({ recorder, storage, scratch, uniform }) => {
    const linear = tried.regime === "prompt" ? END : START + 2;
    const ids = Array.from({ length: ROWS }, () => 0);
    const ranges = CUTS.flat().map(([first, count]) => ({ first: first!, count: count! }));
    const partials = ROWS * heads * chunkCount(END) * 4;
    const given = {
      range: uniform("range", encodeRanges(ranges)),
      shape: uniform("shape", attentionShape(shape, END, rule)),
      rows: storage("rows", encodeRows(chainOf(ids, START, { slotOf, linear }))),
      queries: storage("queries", data.queries),
      keys: storage("keys", packed(paged(data.keys), headDim, kvType)),
      pages: storage("pages", Uint32Array.from(PAGES)),
      values: storage("values", packed(paged(data.values), headDim, kvType)),
      partialSums: scratch("partial sums", partials * headDim),
      partialSoftmax: scratch("partial softmax", partials * 2),
    };
    let range = 0;
    return CUTS.map((cut) => {
      const attended = scratch("attended", ROWS * heads * headDim * 4);
      const buffers = { ...given, attended };
      for (const [, count] of cut) {
        const rows = { range: range++, count: count!, end: END };
        if (kernel instanceof PromptAttention) kernel.dispatch(recorder, kernel.bind(buffers), rows);
        else kernel.dispatch(recorder, kernel.bind(buffers), rows);
      }
      return attended;
    });
  });
  return results.map((words) => new Float32Array(words.buffer));
}
