/** SmolLM2-135M-Instruct's tokenizer, as its GGUF file has it (`tokenizer.*` of its metadata), and what Python makes of it. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { tokenizerFromGguf } from "../../src/text/gguf_tokenizer.ts";
import { TextTokenizer } from "../../src/text/tokenizer.ts";
import type { ChatMessage } from "../../src/types.ts";
import type { GgufValue } from "../../src/weights/gguf.ts";

const FOLDER = join(import.meta.dirname, "../assets/smollm2-135m-instruct");

export interface Golden {
  name: string;
  /** Either messages or a text. */
  messages?: ChatMessage[];
  text?: string;
  rendered: string;
  prompt: number[];
  greedy: number[];
  greedy_text: string;
}

export const SMOLLM2_CASES: Golden[] = JSON.parse(readFileSync(join(FOLDER, "golden.json"), "utf8")).cases;

export function smollm2Metadata(): Map<string, GgufValue> {
  const json: Record<string, GgufValue | { numbers: number[] }> = JSON.parse(
    gunzipSync(readFileSync(join(FOLDER, "tokenizer-metadata.json.gz"))).toString(),
  );
  return new Map(
    Object.entries(json).map(([key, value]) => [
      key,
      typeof value === "object" && "numbers" in value ? Int32Array.from(value.numbers) : value,
    ]),
  );
}

export function smollm2Tokenizer(): TextTokenizer {
  const { tokenizerJson, tokenizerConfig } = tokenizerFromGguf(smollm2Metadata(), "smollm2.gguf");
  return new TextTokenizer(tokenizerJson, tokenizerConfig, "smollm2.gguf");
}
