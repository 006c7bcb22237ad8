/**
 * The metadata that a conversion to GGUF would write of a `tokenizer.json` (llama.cpp, `convert_hf_to_gguf.py`), so that
 * both can be compared.
 */

import { TOKEN } from "../../src/text/gguf_vocabulary.ts";
import type { GgufValue } from "../../src/weights/gguf.ts";

export interface TokenizerJson {
  added_tokens: { id: number; content: string; special: boolean }[];
  model: {
    type: string;
    vocab: Record<string, number>;
    merges: (string | [string, string])[];
    unk_token?: string | null;
  };
}

const BYTE = /^<0x[0-9A-F]{2}>$/;

/** Tokens, kinds and merges of a byte-level tokenizer whose pre-tokenizer has the name `pre`. */
export function byteLevelMetadata(json: TokenizerJson, pre: string): Map<string, GgufValue> {
  const tokens = tokensOf(json);
  const types = new Int32Array(tokens.length).fill(TOKEN.normal);
  fillHoles(tokens, types);
  for (const { id, special } of json.added_tokens) types[id] = special ? TOKEN.control : TOKEN.user;
  return new Map<string, GgufValue>([
    ["tokenizer.ggml.model", "gpt2"],
    ["tokenizer.ggml.pre", pre],
    ["tokenizer.ggml.tokens", tokens],
    ["tokenizer.ggml.token_type", types],
    ["tokenizer.ggml.merges", pairsOf(json).map((pair) => pair.join(" "))],
  ]);
}

/** Tokens, kinds and scores of a SentencePiece tokenizer. A piece's score is the place of its first merge. */
export function sentencePieceMetadata(json: TokenizerJson): Map<string, GgufValue> {
  const tokens = tokensOf(json);
  const types = new Int32Array(tokens.length).fill(TOKEN.normal);
  const scores = new Float32Array(tokens.length).fill(-1e6);
  for (const [index, pair] of pairsOf(json).entries()) {
    const id = json.model.vocab[pair.join("")]!;
    if (scores[id] === -1e6) scores[id] = -index;
  }
  for (const [id, token] of tokens.entries()) if (BYTE.test(token)) types[id] = TOKEN.byte;
  fillHoles(tokens, types);
  for (const { id, content, special } of json.added_tokens) {
    const control = special || content.startsWith("<unused");
    types[id] = content === json.model.unk_token ? TOKEN.unknown : control ? TOKEN.control : TOKEN.user;
    if (types[id] === TOKEN.user) tokens[id] = content.replaceAll("\u2581", " ");
    scores[id] = -1000;
  }
  return new Map<string, GgufValue>([
    ["tokenizer.ggml.model", "llama"],
    ["tokenizer.ggml.pre", "default"],
    ["tokenizer.ggml.tokens", tokens],
    ["tokenizer.ggml.scores", scores],
    ["tokenizer.ggml.token_type", types],
  ]);
}

function tokensOf({ model, added_tokens }: TokenizerJson): string[] {
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(model.vocab)) if (!BYTE.test(tokens[id] ?? "")) tokens[id] = token;
  for (const { id, content } of added_tokens) tokens[id] = content;
  return tokens;
}

/** Ids that no token has, up to the size of the embedding: two more than there are tokens. */
function fillHoles(tokens: string[], types: Int32Array): void {
  for (let id = 0; id < types.length; id++) {
    if (tokens[id] !== undefined) continue;
    tokens[id] = `[PAD${id}]`;
    types[id] = TOKEN.unused;
  }
}

function pairsOf({ model }: TokenizerJson): [string, string][] {
  return model.merges.map((merge) => (typeof merge === "string" ? (merge.split(" ") as [string, string]) : merge));
}
