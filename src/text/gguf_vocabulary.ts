/** What a GGUF file says of its tokenizer (`tokenizer.ggml.*`), checked: docs/gguf.md of ggml, and llama.cpp's defaults. */

import { FileFormatError, UnsupportedModelError } from "../errors.ts";
import { quote } from "../json.ts";
import type { GgufValue } from "../weights/gguf.ts";

type Metadata = ReadonlyMap<string, GgufValue>;

/** Kinds of tokens, by their numbers (`enum llama_token_type`). */
export const TOKEN = { normal: 1, unknown: 2, control: 3, user: 4, unused: 5, byte: 6 } as const;

/** The kinds of tokenizers: byte-level BPE, SentencePiece's BPE, SentencePiece's Unigram. */
export const TOKENIZER_MODELS = ["gpt2", "llama", "t5"] as const;
export type TokenizerModel = (typeof TOKENIZER_MODELS)[number];

/** Ids that a model has where the file does not name them (llama.cpp, `llama_vocab::impl::load`). */
const DEFAULT_IDS: Record<TokenizerModel, Partial<Record<SpecialToken, number>>> = {
  gpt2: {},
  llama: { bos: 1, eos: 2, unknown: 0 },
  t5: { eos: 1, unknown: 2, padding: 0 },
};

type SpecialToken = "bos" | "eos" | "unknown" | "padding";

export interface GgufVocabulary {
  readonly model: TokenizerModel;
  /** By id. Empty where there is none. */
  readonly tokens: readonly string[];
  /** Kind of each token, one of `TOKEN`. */
  readonly types: ArrayLike<number>;
  readonly bos: number | undefined;
  readonly eos: number | undefined;
  readonly unknown: number | undefined;
  readonly padding: number | undefined;
}

/**
 * Tokens, kinds and special ids.
 * @throws FileFormatError when a part is missing or contradicts another; UnsupportedModelError for another kind of tokenizer
 */
export function readGgufVocabulary(metadata: Metadata, file: string): GgufVocabulary {
  const model = readModel(metadata, file);
  const tokens = readTokens(metadata, file);
  const types = ggufNumbers(metadata, "tokenizer.ggml.token_type", tokens.length, file);
  const special = (name: SpecialToken) =>
    specialId(metadata, `tokenizer.ggml.${name}_token_id`, tokens.length) ??
    knownId(DEFAULT_IDS[model][name], tokens.length);
  return {
    model,
    tokens,
    types: types ?? new Uint8Array(tokens.length).fill(TOKEN.normal),
    bos: special("bos"),
    eos: special("eos"),
    unknown: special("unknown"),
    padding: special("padding"),
  };
}

function readModel(metadata: Metadata, file: string): TokenizerModel {
  const field = "tokenizer.ggml.model";
  const found = ggufText(metadata, field, file);
  if (found === undefined) throw new FileFormatError({ file, field, found: "nothing", expected: "a tokenizer" });
  const model = TOKENIZER_MODELS.find((known) => known === found);
  if (model) return model;
  const expected = `one of ${TOKENIZER_MODELS.map((known) => quote(known)).join(", ")}`;
  throw new UnsupportedModelError({ file, field, found: quote(found), expected });
}

function readTokens(metadata: Metadata, file: string): readonly string[] {
  const field = "tokenizer.ggml.tokens";
  const tokens = ggufTexts(metadata, field, file);
  if (!tokens?.length) throw new FileFormatError({ file, field, found: "no tokens", expected: "the vocabulary" });
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const first = ids.get(token);
    // Bytes that are no UTF-8 have all become the same characters.
    if (first !== undefined && token !== "" && !token.includes("\uFFFD")) {
      const found = `${quote(token)} with the ids ${first} and ${id}`;
      throw new FileFormatError({ file, field, found, expected: "each token once" });
    }
    ids.set(token, id);
  }
  return tokens;
}

/**
 * The id that a field names, undefined without one. An id beyond the vocabulary counts as none, as in llama.cpp: files have
 * written 2^32 - 1 for it.
 */
export function specialId(metadata: Metadata, key: string, vocabSize: number): number | undefined {
  const value = metadata.get(key);
  return typeof value === "number" ? knownId(value, vocabSize) : undefined;
}

function knownId(id: number | undefined, vocabSize: number): number | undefined {
  return id !== undefined && Number.isInteger(id) && id >= 0 && id < vocabSize ? id : undefined;
}

/** @throws FileFormatError when it is there and no text */
export function ggufText(metadata: Metadata, field: string, file: string): string | undefined {
  const value = metadata.get(field);
  if (value === undefined || typeof value === "string") return value;
  throw new FileFormatError({ file, field, found: quote(shown(value)), expected: "a text" });
}

/** @throws FileFormatError when it is there and not true or false */
export function ggufFlag(metadata: Metadata, field: string, fallback: boolean, file: string): boolean {
  const value = metadata.get(field) ?? fallback;
  if (typeof value === "boolean") return value;
  throw new FileFormatError({ file, field, found: quote(shown(value)), expected: "true or false" });
}

/** @throws FileFormatError when it is there and not an array of texts */
export function ggufTexts(metadata: Metadata, field: string, file: string): readonly string[] | undefined {
  const value = metadata.get(field);
  if (value === undefined) return undefined;
  // Elements are of one type. An empty array has none.
  if (Array.isArray(value) && (value.length === 0 || typeof value[0] === "string")) return value as readonly string[];
  throw new FileFormatError({ file, field, found: quote(shown(value)), expected: "an array of texts" });
}

/** @throws FileFormatError when it is there and not an array of numbers, one for each token */
export function ggufNumbers(
  metadata: Metadata,
  field: string,
  length: number,
  file: string,
): ArrayLike<number> | undefined {
  const value = metadata.get(field);
  if (value === undefined) return undefined;
  if (ArrayBuffer.isView(value) && value.length >= length) return value;
  const found = ArrayBuffer.isView(value) ? `${value.length} numbers` : quote(shown(value));
  throw new FileFormatError({ file, field, found, expected: `${length} numbers, one for each token` });
}

/** Arrays of numbers as ones that `quote` knows. */
function shown(value: GgufValue): unknown {
  return ArrayBuffer.isView(value) ? Array.from(value.subarray(0, 16)) : value;
}
