import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { describe, expect, test } from "vitest";
import { tokenizerFromGguf } from "../../src/text/gguf_tokenizer.ts";
import { preTokenizer, preTokenizerNames } from "../../src/text/pre_tokenizers.ts";
import { byteLevelJson } from "./byte_level_tokenizer.ts";
import { byteLevelMetadata } from "./gguf_metadata.ts";

const { texts, words }: { texts: string[]; words: Record<string, string[][]> } = JSON.parse(
  readFileSync(join(import.meta.dirname, "pre_tokenizers.json"), "utf8"),
);

/** What a pre-tokenizer of this name cuts a text into, bytes as GPT-2 writes them. */
function cutter(name: string): (text: string) => string[] {
  const metadata = byteLevelMetadata(byteLevelJson(), name).set("tokenizer.ggml.bos_token_id", 0);
  const { normalizer, pre_tokenizer } = new Tokenizer(tokenizerFromGguf(metadata, "m.gguf").tokenizerJson, {});
  return (text) => pre_tokenizer!(normalizer ? normalizer(text) : text);
}

describe("words are those of the Rust original with the model's own tokenizer.json", () => {
  test.each(Object.entries(words))("%s", (name, expected) => {
    const cut = cutter(name);
    for (const [index, text] of texts.entries()) expect(cut(text), JSON.stringify(text)).toEqual(expected[index]);
  });
});

test.each(preTokenizerNames())("%s loses no character", (name) => {
  const cut = cutter(name);
  const bytes = cutter("gpt-2");
  for (const text of texts) {
    const composed = preTokenizer(name)!.nfc ? text.normalize("NFC") : text;
    expect(cut(text).join("")).toBe(bytes(composed).join(""));
  }
});

test.each([
  ["SmolLM3", "smaug-bpe", "llama-bpe"],
  ["OLMo 2 and Phi-4", "dbrx", "llama-bpe"],
  ["Granite 3", "refact", "smollm"],
  ["StarCoder", "starcoder", "smollm"],
  ["DeepSeek-R1's distillates", "deepseek-r1-qwen", "qwen2"],
])("%s: %s cuts like %s", (_, name, other) => {
  for (const text of texts) expect(cutter(name)(text.normalize())).toEqual(cutter(other)(text.normalize()));
});
