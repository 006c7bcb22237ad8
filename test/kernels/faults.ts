/** Kernels without variants as a driver could break them, and what their self-checks must say. */

import type { Device } from "../../src/gpu/device.ts";
import { checkEmbedding } from "../../src/kernels/embedding_check.ts";
import { checkGate } from "../../src/kernels/gate_check.ts";
import { checkAddNormed, checkRmsNorm } from "../../src/kernels/norm_check.ts";
import { checkPlaceHeads } from "../../src/kernels/place_heads_check.ts";
import { checkRepack } from "../../src/kernels/repack_check.ts";
import { checkSelection } from "../../src/kernels/selection_check.ts";
import { type GgufBlockType, SOURCE_LAYOUTS } from "../../src/kernels/source_type.ts";
import { checkTopIds } from "../../src/kernels/top_ids_check.ts";
import { formatOf, headShapeOf } from "./matmul_inputs.ts";
import type { Change } from "./miscompile.ts";

/** More elements than a workgroup has threads, of a head and of all together. */
const MANY_HEADS = headShapeOf("9/3", 80);

const Q8 = formatOf("q8 symmetric");
const Q4 = formatOf("q4 symmetric");
const Q4_MINIMUM = formatOf("q4 minimum", "16 f32");

const exact = (type: GgufBlockType) => SOURCE_LAYOUTS[type].exact;

/** What a check is asked, the kernel that is broken and how, and what is said of it. */
export const FAULTS: Record<
  string,
  { check: (device: Device) => Promise<void>; kernel: string; change: Change; said: RegExp }
> = {
  "f32 in the next column": {
    check: (device) => checkRepack(device, { type: "F32", format: { type: "f32" } }),
    kernel: "weights/repack f32",
    change: ["shape.firstColumn + n;", "shape.firstColumn + (n + 1) % shape.rows;"],
    said: /F32 to f32: column 2, element 0: .*, expected/,
  },
  "a matrix whose beginning is not where it should be": {
    check: (device) => checkRepack(device, { type: "BF16", format: { type: "f32" } }),
    kernel: "weights/repack f32",
    change: ["return shape.firstColumn + n;", "return n;"],
    said: /BF16 to f32: column 0, element 0: .*, expected/,
  },
  "bf16 read as the other half": {
    check: (device) => checkRepack(device, { type: "BF16", format: { type: "f32" } }),
    kernel: "weights/repack f32",
    change: ["vec4u(words.x & 0xffff, words.x >> 16,", "vec4u(words.x >> 16, words.x & 0xffff,"],
    said: /BF16 to f32: column 2, element 0: .*, expected/,
  },
  "f16 cut, not rounded": {
    check: (device) => checkRepack(device, { type: "F32", format: { type: "f16" } }),
    kernel: "weights/repack f16",
    change: ["- vec4u(1) + odd) >> shift", "- (vec4u(1) << (shift - vec4u(1)))) >> shift"],
    said: /F32 to f16: column 2, element \d+: .*, expected/,
  },
  "subnormal halves lost": {
    check: (device) => checkRepack(device, { type: "F16", format: { type: "f32" } }),
    kernel: "weights/repack f32",
    change: ["vec4f(fraction) * 5.9604644775390625e-8", "vec4f(fraction) * 0.0"],
    said: /F16 to f32: column 2, element \d+: 0, expected/,
  },
  "a padding that is not zero": {
    check: (device) => checkRepack(device, { type: "F16", format: { type: "f16" } }),
    kernel: "weights/repack f16",
    change: ["return vec4u(0);", "return vec4u(1);"],
    said: /F16 to f16: weight, word \d+: \d+, expected \d+$/,
  },
  "8-bit codes cut, not rounded": {
    check: (device) => checkRepack(device, { type: "BF16", format: Q8 }),
    kernel: "weights/quantise q8 symmetric",
    change: ["round((values - minimum) / scale)", "floor((values - minimum) / scale - 0.25)"],
    said: /BF16 to q8\/32 symmetric f16: column 2, element \d+: -?\d+, expected -?\d+$/,
  },
  "a scale of the wrong sign": {
    check: (device) => checkRepack(device, { type: "F16", format: Q4 }),
    kernel: "weights/quantise q4 symmetric",
    change: ["high >= -low || TWO_SIDED == 1", "high >= low"],
    said: /F16 to q4\/32 symmetric f16: column 2, element \d+: -?\d+, expected -?\d+$/,
  },
  "the second of two scales in the place of the first": {
    check: (device) => checkRepack(device, { type: "F32", format: Q8 }),
    kernel: "weights/quantise q8 symmetric",
    change: ["stored.x << (16 * i)", "stored.x << (16 * (1 - i))"],
    said: /F32 to q8\/32 symmetric f16: column 2, scale 0: .*, expected/,
  },
  "a minimum that is a little too low": {
    check: (device) => checkRepack(device, { type: "F32", format: Q4_MINIMUM }),
    kernel: "weights/quantise q4 minimum",
    change: ["scales[2 * at + 1] = stored.y;", "scales[2 * at + 1] = stored.y + 1;"],
    said: /F32 to q4\/16 minimum f32: column 2, minimum \d: .*, expected/,
  },
  "heads that keep the checkpoint's order": {
    check: (device) => checkRepack(device, { type: "BF16", format: Q8 }),
    kernel: "weights/quantise q8 symmetric",
    change: ["return element % 2 * half + element / 2;", "return element;"],
    said: /BF16 to q8\/32 symmetric f16: column 70, element \d+: .*, expected/,
  },
  "a chunk whose rows begin a head": {
    check: (device) => checkRepack(device, { type: "F32", format: { type: "f16" } }),
    kernel: "weights/repack f16",
    change: ["let n = shape.firstRow + row;", "let n = shape.firstRow / 8 * 8 + row;"],
    said: /F32 to f16: column \d+, element 0: .*, expected/,
  },
  "nibbles of a block in each other's place": {
    check: (device) => checkRepack(device, { type: "Q4_0", format: exact("Q4_0") }),
    kernel: "weights/move Q4_0",
    change: ["return nibblesAt(block + 2, vector);", "return nibblesAt(block + 2, (vector + 4) % 8);"],
    said: /Q4_0 to q4\/32 symmetric f16: column 2, element \d+: .*, expected/,
  },
  "upper bits of nested scales lost": {
    check: (device) => checkRepack(device, { type: "Q4_K", format: exact("Q4_K") }),
    kernel: "weights/move Q4_K",
    change: ["<< vec2u(4)));", "<< vec2u(3)));"],
    said: /Q4_K to q4\/32 minimum f32: column 2, scale [4-7]: .*, expected/,
  },
  "a minimum that is added, not subtracted": {
    check: (device) => checkRepack(device, { type: "Q5_K", format: exact("Q5_K") }),
    kernel: "weights/move Q5_K",
    change: ["* vec2f(1.0, -1.0)", "* vec2f(1.0, 1.0)"],
    said: /Q5_K to q8\/32 minimum f32: column 2, minimum \d+: .*, expected/,
  },
  "signed scales taken for unsigned ones": {
    check: (device) => checkRepack(device, { type: "Q6_K", format: { type: "f16" } }),
    kernel: "weights/repack f16",
    change: ["bitcast<i32>(byteAt(block + 192 + group) << 24) >> 24", "i32(byteAt(block + 192 + group))"],
    said: /Q6_K to f16: column 2, element \d+: .*, expected/,
  },
  "levels of a codebook that are quantised from the wrong end": {
    check: (device) => checkRepack(device, { type: "IQ4_XS", format: Q8 }),
    kernel: "weights/quantise q8 symmetric",
    change: ["SOURCE_CODEBOOK[codes.x]", "-SOURCE_CODEBOOK[codes.x]"],
    said: /IQ4_XS to q8\/32 symmetric f16: column 2, element 0: .*, expected .* within/,
  },
  "4-bit codes of 5-bit ones with the wrong fifth bits": {
    check: (device) => checkRepack(device, { type: "Q5_0", format: Q4 }),
    kernel: "weights/quantise q4 symmetric",
    change: ["block + 2", "block + 4"],
    said: /Q5_0 to q4\/32 symmetric f16: column 2, element \d+: .*, expected .* within/,
  },
  "the embedding of the next id": {
    check: (device) => checkEmbedding(device, Q8),
    kernel: "embedding q8/32 symmetric f16",
    change: ["- shape.firstId;", "- shape.firstId + 1;"],
    said: /stream, row 1, number \d+: .*, expected/,
  },
  "an embedding without its factor": {
    check: (device) => checkEmbedding(device, { type: "f32" }),
    kernel: "embedding f32",
    change: [" * shape.embeddingScale;", ";"],
    said: /stream, row 1, number \d+: .*, expected/,
  },
  "an embedding without the norm's weight": {
    check: (device) => checkEmbedding(device, { type: "f16" }),
    kernel: "embedding f16",
    change: ["= x * normWeight[k];", "= x;"],
    said: /stream, row 1, number \d+: .*, expected/,
  },
  "an id of another part embedded": {
    check: (device) => checkEmbedding(device, { type: "f32" }),
    kernel: "embedding f32",
    change: [
      "min(rows[row].token, shape.vocabSize - 1) - shape.firstId;",
      "max(rows[row].token, shape.firstId) - shape.firstId;",
    ],
    said: /stream, row [56], number \d+: .*, expected/,
  },
  "rows behind the range embedded": {
    check: (device) => checkEmbedding(device, { type: "f32" }),
    kernel: "embedding f32",
    change: ["id.y >= range.count", "id.y > range.count"],
    said: /stream, row 7, number \d+: .*, expected 77$/,
  },
  "a norm of the shares of some threads": {
    check: checkRmsNorm,
    kernel: "rms_norm",
    change: ["var t = 0u; t < WORKGROUP;", "var t = 0u; t < WORKGROUP - 1;"],
    said: /normed, row 1, number \d+: .*, expected .* within/,
  },
  "a norm without epsilon": {
    check: checkRmsNorm,
    kernel: "rms_norm",
    change: [" + shape.epsilon)", ")"],
    said: /normed, row [12], number \d+: .*, expected .* within/,
  },
  "the last numbers of a row not normed": {
    check: checkRmsNorm,
    kernel: "rms_norm",
    change: [
      "hidden[base + k] * scale * weight[k];",
      "select(0.0, scale, k < WORKGROUP) * hidden[base + k] * weight[k];",
    ],
    said: /normed, row 1, number \d+: 0, expected/,
  },
  "a block's output normed by the shares of some threads": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: ["var t = 0u; t < WORKGROUP;", "var t = 1u; t < WORKGROUP;"],
    said: /stream, row 1, number \d+: .*, expected .* within/,
  },
  "a block's output normed without epsilon": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: [" + shape.epsilon)", ")"],
    said: /stream, row [12], number \d+: .*, expected .* within/,
  },
  "a block's output in the place of the stream": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: ["let total = stream[to] + ", "let total = "],
    said: /stream, row 1, number \d+: .*, expected .* within/,
  },
  "the next norm's weight left out": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: ["= total * nextWeight[k];", "= total;"],
    said: /stream, row 1, number \d+: .*, expected .* within/,
  },
  "the last numbers of a block's output not added": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: ["    stream[to] = total;", "    if (k < WORKGROUP) { stream[to] = total; }"],
    said: /stream, row 1, number \d+: .*, expected .* within/,
  },
  "a block's output added to the row behind the range": {
    check: checkAddNormed,
    kernel: "norm/add_normed",
    change: ["group.x >= range.count", "group.x > range.count"],
    said: /stream, row 4, number \d+: .*, expected -?[\d.]+$/,
  },
  "a gate without its activation": {
    check: (device) => checkGate(device, "silu"),
    kernel: "feed_forward/gate silu",
    change: ["= gated * up;", "= gate * up;"],
    said: /output, row 1, number \d+: .*, expected .* within/,
  },
  "gate and up changed about": {
    check: (device) => checkGate(device, "gelu_tanh"),
    kernel: "feed_forward/gate gelu_tanh",
    change: ["let up = products[(row * 2 + 1)", "let up = products[(row * 2)"],
    said: /output, row 1, number \d+: .*, expected .* within/,
  },
  "gates behind the range": {
    check: (device) => checkGate(device, "silu"),
    kernel: "feed_forward/gate silu",
    change: ["id.y >= range.count", "id.y > range.count"],
    said: /output, row 4, number \d+: .*, expected 77$/,
  },
  "heads normed by the shares of some threads": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f32", "head"),
    kernel: "attention/place_heads f32",
    change: ["var t = 0u; t < WORKGROUP;", "var t = 0u; t < WORKGROUP - 1;"],
    said: /queries, number \d+: .*, expected .* within/,
  },
  "heads normed without epsilon": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f16", "row"),
    kernel: "attention/place_heads f16",
    change: [" + shape.epsilon)", ")"],
    said: /queries, number \d+: .*, expected .* within/,
  },
  "each head normed by itself where all are normed together": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f32", "row"),
    kernel: "attention/place_heads f32",
    change: [
      "let normSize = select(headDim, select(shape.kvHeads, shape.heads, isQuery) * headDim, shape.together == 1);",
      "let normSize = headDim;",
    ],
    said: /queries, number \d+: .*, expected .* within/,
  },
  "keys weighed as queries": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f32", "head"),
    kernel: "attention/place_heads f32",
    change: ["x *= vec2f(keyNorm[at], keyNorm[at + shape.halfDim]);", "x *= vec2f(queryNorm[at], keyNorm[at]);"],
    said: /keys, number \d+: .*, expected .* within/,
  },
  "heads rotated by their slots": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f32", "head"),
    kernel: "attention/place_heads f32",
    change: ["rotations[place.position * shape.halfDim", "rotations[place.slot * shape.halfDim"],
    said: /queries, number \d+: .*, expected .* within/,
  },
  "keys in the place of their positions": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f16", "head"),
    kernel: "attention/place_heads f16",
    change: ["writeKey(place.slot *", "writeKey(place.position *"],
    said: /keys, number \d+: .*, expected/,
  },
  "values normed as keys are": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f16", "head"),
    kernel: "attention/place_heads f16",
    change: [
      "writeValue(kvHead, pair, vec2f(projected[begin + pair], ",
      "writeValue(kvHead, pair, vec2f(projected[begin + pair] * keyNorm[pair], ",
    ],
    said: /values, number \d+: .*, expected .* within/,
  },
  "the last pairs of a head left out": {
    check: (device) => checkPlaceHeads(device, { heads: 1, kvHeads: 1, headDim: 136 }, "f32", "head"),
    kernel: "attention/place_heads f32",
    change: [
      "for (var pair = thread; pair < shape.halfDim; pair += WORKGROUP) {\n    let at",
      "for (var pair = thread; pair < WORKGROUP; pair += WORKGROUP) {\n    let at",
    ],
    said: /queries, number 200: 77, expected .* within/,
  },
  "heads of the row behind the range": {
    check: (device) => checkPlaceHeads(device, MANY_HEADS, "f32", "head"),
    kernel: "attention/place_heads f32",
    change: ["group.y >= range.count", "group.y > range.count"],
    said: /queries, number \d+: .*, expected 77$/,
  },
  "a tie within a thread that goes to the first": {
    check: checkSelection,
    kernel: "layer_skip/select_target",
    change: [
      "best = better(best, candidates[row * count + i]);",
      "let next = candidates[row * count + i]; if (next.logit > best.logit) { best = next; }",
    ],
    said: /id after row 3: 905, expected 903$/,
  },
  "a tie between threads that goes to the first": {
    check: checkSelection,
    kernel: "layer_skip/select_target",
    change: ["best = better(best, bests[t]);", "if (bests[t].logit > best.logit) { best = bests[t]; }"],
    said: /id after row 4: 909, expected 907$/,
  },
  "a draft's tie that goes to the highest id": {
    check: checkSelection,
    kernel: "layer_skip/select_draft",
    change: ["next.id + 1 < best.id + 1", "next.id > best.id"],
    said: /row 4, word 0: 905, expected 903$/,
  },
  "the draft of the row after": {
    check: checkSelection,
    kernel: "layer_skip/select_draft",
    change: ["rows[rows[row].child].token", "rows[row].token"],
    said: /row 3, word 0: 903, expected 7777$/,
  },
  "what is no number, of which only the logit counts": {
    check: checkSelection,
    kernel: "layer_skip/select_target",
    change: ["next.id + 1 < best.id + 1", "next.id < best.id"],
    said: /id after row 6: 3, expected 4294967295$/,
  },
  "of equal logits the highest id": {
    check: checkTopIds,
    kernel: "drafting/top_ids",
    change: ["next.id + 1 < best.id + 1", "next.id + 1 > best.id + 1"],
    said: /id after row 1: \d+, expected/,
  },
  "what a thread has on top is taken again and again": {
    check: checkTopIds,
    kernel: "drafting/top_ids",
    change: ["select(0u, 1u, own.id == best.id)", "0u"],
    said: /follower 1 of token 1: \d+, expected/,
  },
  "logits that are no numbers teach": {
    check: checkTopIds,
    kernel: "drafting/top_ids",
    change: ["isFinite = best.id != NONE;", "isFinite = true;"],
    said: /follower 0 of token 610: \d+, expected 7777/,
  },
};
