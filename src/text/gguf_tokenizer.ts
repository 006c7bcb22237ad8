/**
 * The tokenizer inside a GGUF file as the `tokenizer.json` and `tokenizer_config.json` of Hugging Face, so that
 * `TextTokenizer` reads both.
 *
 * What the file has is read in `gguf_vocabulary.ts`. What it leaves out is what its conversion took for granted
 * (llama.cpp, `convert_hf_to_gguf.py`) and transformers' own converters put back (`convert_slow_tokenizer.py`).
 */

import { FileFormatError, UnsupportedModelError } from "../errors.ts";
import { quote } from "../json.ts";
import type { GgufValue } from "../weights/gguf.ts";
import { eosFromGguf } from "./end_of_generation.ts";
import {
  type GgufVocabulary,
  ggufFlag,
  ggufNumbers,
  ggufText,
  ggufTexts,
  readGgufVocabulary,
  TOKEN,
} from "./gguf_vocabulary.ts";
import { type PreTokenizer, preTokenizer, preTokenizerNames } from "./pre_tokenizers.ts";
import { mergesOf, type Piece } from "./sentencepiece_merges.ts";

type Metadata = ReadonlyMap<string, GgufValue>;

/** What SentencePiece writes for a space. */
const SPACE = "\u2581";
const ONLY_SPACES = /^\u2581+$/;

/** The parts of `tokenizer.json` that differ from one kind of tokenizer to the other. */
interface Parts {
  normalizer: object | null;
  pre_tokenizer: object | null;
  model: object;
  decoder: object;
  addBos: boolean;
  addEos: boolean;
}

/** An entry of `added_tokens`. */
interface AddedToken {
  id: number;
  content: string;
  special: boolean;
  normalized: boolean;
  rstrip: boolean;
  lstrip: boolean;
  single_word: boolean;
}

/**
 * Turns the tokenizer of a GGUF file into what `TextTokenizer` and `ChatTemplate` read.
 * @param file name for messages
 * @throws FileFormatError when a part is missing or contradicts another; UnsupportedModelError for a kind of tokenizer or a
 * pre-tokenizer that is not known
 */
export function tokenizerFromGguf(
  metadata: Metadata,
  file: string,
): { tokenizerJson: Record<string, unknown>; tokenizerConfig: Record<string, unknown> } {
  const vocabulary = restored(readGgufVocabulary(metadata, file));
  const { model, tokens, bos, eos, unknown, padding } = vocabulary;
  const read = { gpt2: byteLevelBpe, llama: sentencePieceBpe, t5: unigram }[model];
  const parts = read(metadata, vocabulary, file);
  const addBos = ggufFlag(metadata, "tokenizer.ggml.add_bos_token", parts.addBos, file);
  const addEos = ggufFlag(metadata, "tokenizer.ggml.add_eos_token", parts.addEos, file);
  const named = (id: number | undefined) => (id === undefined ? null : tokens[id]!);
  const around = {
    first: addBos ? added("bos", bos, tokens, file) : [],
    last: addEos ? added("eos", eos, tokens, file) : [],
  };
  const { normalizer, pre_tokenizer, decoder } = parts;
  return {
    tokenizerJson: {
      added_tokens: addedTokens(metadata, vocabulary, file),
      normalizer,
      pre_tokenizer,
      model: parts.model,
      post_processor: template(around.first, around.last),
      decoder,
    },
    tokenizerConfig: {
      ...{ bos_token: named(bos), eos_token: named(eos), unk_token: named(unknown), pad_token: named(padding) },
      ...{ add_bos_token: addBos, add_eos_token: addEos, clean_up_tokenization_spaces: false },
      chat_template: chatTemplates(metadata, file),
    },
  };
}

/**
 * The vocabulary with users' tokens of spaces as SentencePiece writes them: the conversion to GGUF puts spaces there. (Only
 * tokens of nothing else: those that have letters as well were meant to be found in the text as they are.)
 */
function restored(vocabulary: GgufVocabulary): GgufVocabulary {
  const { model, types } = vocabulary;
  if (model === "gpt2") return vocabulary;
  const tokens = vocabulary.tokens.map((token, id) =>
    types[id] === TOKEN.user && /^ +$/.test(token) ? token.replaceAll(" ", SPACE) : token,
  );
  return { ...vocabulary, tokens };
}

/** The token to add, in a list. */
function added(name: string, id: number | undefined, tokens: readonly string[], file: string): string[] {
  if (id !== undefined) return [tokens[id]!];
  const field = `tokenizer.ggml.${name}_token_id`;
  throw new FileFormatError({ file, field, found: "no token", expected: `the one that add_${name}_token adds` });
}

function template(first: readonly string[], last: readonly string[]): object | null {
  if (first.length + last.length === 0) return null;
  const special = (id: string) => ({ SpecialToken: { id, type_id: 0 } });
  const text = (id: string) => ({ Sequence: { id, type_id: 0 } });
  const single = [...first.map(special), text("A"), ...last.map(special)];
  return { type: "TemplateProcessing", single, pair: [...single, text("B")] };
}

/** Byte-level BPE, as GPT-2 brought it up: Llama 3, Qwen, SmolLM, Phi-4, OLMo 2, Granite. */
function byteLevelBpe(metadata: Metadata, { tokens, types }: GgufVocabulary, file: string): Parts {
  const { splits, nfc, ignoreMerges, addBos } = readPreTokenizer(metadata, file);
  const merges = ggufTexts(metadata, "tokenizer.ggml.merges", file);
  if (!merges) {
    throw new FileFormatError({ file, field: "tokenizer.ggml.merges", found: "nothing", expected: "the merges" });
  }
  const split = (regex: string) => ({ type: "Split", pattern: { Regex: regex }, behavior: "Isolated", invert: false });
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
  return {
    normalizer: nfc ? { type: "NFC" } : null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...splits.map(split), bytes] },
    model: {
      type: "BPE",
      vocab: vocabularyOf(tokens, types),
      merges: merges.map((merge) => readMerge(merge, file)),
      ignore_merges: ignoreMerges,
    },
    decoder: bytes,
    addBos,
    addEos: false,
  };
}

function readPreTokenizer(metadata: Metadata, file: string): PreTokenizer {
  const field = "tokenizer.ggml.pre";
  // Files made before there were names: llama.cpp does the same.
  const name = ggufText(metadata, field, file) ?? "default";
  const found = preTokenizer(name);
  if (found) return found;
  throw new UnsupportedModelError({
    file,
    field,
    found: quote(name),
    expected: `one of ${preTokenizerNames().join(", ")}`,
  });
}

/** `left right`, neither of which is empty. */
function readMerge(merge: string, file: string): [string, string] {
  const space = merge.indexOf(" ", 1);
  if (space > 0 && space < merge.length - 1) return [merge.slice(0, space), merge.slice(space + 1)];
  const expected = "two parts with a space between them";
  throw new FileFormatError({ file, field: "tokenizer.ggml.merges", found: quote(merge), expected });
}

/** SentencePiece's BPE: Llama 2, Mistral, Gemma, Phi-3. */
function sentencePieceBpe(metadata: Metadata, vocabulary: GgufVocabulary, file: string): Parts {
  const { tokens, types, unknown } = vocabulary;
  const scores = readScores(metadata, tokens.length, file);
  const pieces: Piece[] = [];
  for (const [id, token] of tokens.entries()) {
    if (types[id] === TOKEN.normal) pieces.push({ text: token, score: scores[id]! });
    // Spaces go before all else. Other tokens of users are cut out of the text before it gets here.
    else if (types[id] === TOKEN.user && ONLY_SPACES.test(token)) pieces.push({ text: token, score: Infinity });
  }
  const spaces = { type: "Replace", pattern: { String: " " }, content: SPACE };
  const prefix = ggufFlag(metadata, "tokenizer.ggml.add_space_prefix", true, file);
  return {
    normalizer: prefix ? { type: "Sequence", normalizers: [{ type: "Prepend", prepend: SPACE }, spaces] } : spaces,
    pre_tokenizer: null,
    model: {
      type: "BPE",
      vocab: vocabularyOf(tokens, types),
      merges: mergesOf(pieces),
      unk_token: unknown === undefined ? null : tokens[unknown],
      fuse_unk: true,
      byte_fallback: true,
    },
    decoder: sentencePieceDecoder(prefix),
    addBos: true,
    addEos: false,
  };
}

/** SentencePiece's Unigram, as T5 has it. */
function unigram(metadata: Metadata, vocabulary: GgufVocabulary, file: string): Parts {
  const { tokens, types, unknown } = vocabulary;
  const scores = readScores(metadata, tokens.length, file);
  if (unknown === undefined) {
    const field = "tokenizer.ggml.unknown_token_id";
    throw new FileFormatError({ file, field, found: "no token", expected: "the one for unknown text" });
  }
  const prefix = ggufFlag(metadata, "tokenizer.ggml.add_space_prefix", true, file);
  const words = { type: "Metaspace", replacement: SPACE, prepend_scheme: prefix ? "always" : "never" };
  const single = ggufFlag(metadata, "tokenizer.ggml.remove_extra_whitespaces", false, file);
  return {
    // The map itself (nmt_nfkc, mostly) is not read: @huggingface/tokenizers has that one built in.
    normalizer: metadata.has("tokenizer.ggml.precompiled_charsmap") ? { type: "Precompiled" } : null,
    pre_tokenizer: single ? { type: "Sequence", pretokenizers: [{ type: "WhitespaceSplit" }, words] } : words,
    model: {
      type: "Unigram",
      unk_id: unknown,
      // A list by id: none may be left out, but a score can keep what is no text from being found in one.
      vocab: tokens.map((token, id) => [token, types[id] === TOKEN.unused ? -Infinity : scores[id]]),
    },
    decoder: sentencePieceDecoder(prefix),
    addBos: false,
    addEos: true,
  };
}

function sentencePieceDecoder(prefix: boolean): object {
  return {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: SPACE }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      ...(prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []),
    ],
  };
}

function readScores(metadata: Metadata, count: number, file: string): ArrayLike<number> {
  const field = "tokenizer.ggml.scores";
  const scores = ggufNumbers(metadata, field, count, file);
  if (!scores) throw new FileFormatError({ file, field, found: "nothing", expected: "a score for each token" });
  return scores;
}

/** Ids by token. What only fills the vocabulary up to a round number is left out, as it is in `tokenizer.json`. */
function vocabularyOf(tokens: readonly string[], types: ArrayLike<number>): Record<string, number> {
  const known = [...tokens.entries()].filter(([id, token]) => token !== "" && types[id] !== TOKEN.unused);
  return Object.fromEntries(known.map(([id, token]) => [token, id]));
}

/**
 * Tokens that are cut out of the text before anything else: control tokens, which never show in text, and users' own, which
 * do. A token that ends a generation is a control token, also where the file does not say so.
 */
function addedTokens(metadata: Metadata, vocabulary: GgufVocabulary, file: string): AddedToken[] {
  const { model, tokens, types } = vocabulary;
  const ends = new Set(eosFromGguf(metadata, file));
  const strips = model === "llama" && ggufText(metadata, "general.architecture", file) === "phi3";
  const list: AddedToken[] = [];
  for (const [id, token] of tokens.entries()) {
    const type = types[id];
    const special = type === TOKEN.control || type === TOKEN.unknown || ends.has(id);
    if (token === "" || !(special || type === TOKEN.user)) continue;
    list.push({
      id,
      content: token,
      special,
      normalized: false,
      rstrip: strips && !KEEPS_SPACE.has(token),
      lstrip: false,
      single_word: false,
    });
  }
  return list;
}

/** Phi-3's tokens take the space after them along, but for these (its `tokenizer.json`; GGUF does not say). */
const KEEPS_SPACE: ReadonlySet<string> = new Set(["<unk>", "<s>", "<|endoftext|>"]);

/** `tokenizer.chat_template`, or the list of it and others under names, as in `tokenizer_config.json`. */
function chatTemplates(metadata: Metadata, file: string): string | { name: string; template: string }[] | null {
  const key = "tokenizer.chat_template";
  const main = ggufText(metadata, key, file);
  const others = (ggufTexts(metadata, "tokenizer.chat_templates", file) ?? []).flatMap((name) => {
    const template = ggufText(metadata, `${key}.${name}`, file);
    return template === undefined ? [] : [{ name, template }];
  });
  if (others.length === 0) return main ?? null;
  return main === undefined ? others : [{ name: "default", template: main }, ...others];
}
