import { expect, test } from "vitest";
import { FileFormatError } from "../../src/errors.ts";
import { eosFromGguf } from "../../src/text/end_of_generation.ts";
import { TOKEN } from "../../src/text/gguf_vocabulary.ts";
import type { GgufValue } from "../../src/weights/gguf.ts";

/** Ids that end a generation: tokens (control tokens but for those in `normal`) and fields of the file. */
function ends(tokens: string[], fields: Record<string, number> = {}, normal: string[] = []): number[] {
  const types = Int32Array.from(tokens, (token) => (normal.includes(token) ? TOKEN.normal : TOKEN.control));
  const metadata = new Map<string, GgufValue>([
    ["tokenizer.ggml.tokens", tokens],
    ["tokenizer.ggml.token_type", types],
  ]);
  for (const [name, id] of Object.entries(fields)) metadata.set(`tokenizer.ggml.${name}_token_id`, id);
  return eosFromGguf(metadata, "m.gguf");
}

test("the ids that the file names for the end of a text, of a turn and of a message", () => {
  expect(ends(["a", "b", "c", "d"], { eos: 3, eot: 1, eom: 2, bos: 0 })).toEqual([1, 2, 3]);
  expect(ends(["a", "b"], { eos: 1, eot: 1 })).toEqual([1]);
  expect(ends(["a", "b"])).toEqual([]);
});

test.each([
  ["Llama 3", ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>"], [1, 2, 3]],
  ["Qwen", ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|fim_pad|>", "<|fim_prefix|>"], [1, 2, 3]],
  ["Gemma", ["<start_of_turn>", "<end_of_turn>", "<eos>"], [1]],
  ["Phi", ["<|user|>", "<|end|>", "<|endoftext|>"], [1, 2]],
  ["Granite", ["<|start_of_role|>", "<|end_of_text|>"], [1]],
  ["DeepSeek", ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"], [1]],
])("%s: tokens that end a turn by their name, whatever the file says", (_, tokens, ids) => {
  expect(ends(tokens)).toEqual(ids);
  expect(ends(tokens, {}, tokens)).toEqual(ids);
});

test("</s> ends a generation as a control token, not as HTML", () => {
  expect(ends(["a", "</s>"])).toEqual([1]);
  expect(ends(["a", "</s>"], {}, ["</s>"])).toEqual([]);
  expect(ends(["a", "</s>"], { eos: 1 }, ["</s>"])).toEqual([1]);
});

test("<|end|> ends a message only where another may follow", () => {
  expect(ends(["<|end|>", "<|return|>", "<|call|>"])).toEqual([1, 2]);
  expect(ends(["<|end|>", "<|return|>"])).toEqual([0, 1]);
});

test("ids beyond the vocabulary are none", () => {
  expect(ends(["a", "b"], { eos: 2 ** 32 - 1, eot: 2, eom: 1 })).toEqual([1]);
});

test("tokens that are no texts", () => {
  const metadata = new Map<string, GgufValue>([["tokenizer.ggml.tokens", new Int32Array(2)]]);
  expect(() => eosFromGguf(metadata, "m.gguf")).toThrow(FileFormatError);
  expect(eosFromGguf(new Map(), "m.gguf")).toEqual([]);
});
