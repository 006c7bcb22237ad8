/** Text to token ids and back, as `tokenizer.json` says. Wraps `@huggingface/tokenizers`, as transformers.js does. */

import { ByteFallbackDecoder, type Decoder, SequenceDecoder, Tokenizer } from "@huggingface/tokenizers";
import { FileFormatError } from "../errors.ts";
import { Fields } from "../json.ts";

export class TextTokenizer {
  /** One more than the greatest id there is. */
  readonly vocabSize: number;
  readonly #file: string;
  readonly #tokenizer: Tokenizer;
  /** Ids that never show in text: special tokens. */
  readonly #special: ReadonlySet<number>;

  /**
   * @param tokenizerJson parsed `tokenizer.json`
   * @param tokenizerConfig parsed `tokenizer_config.json`, or an empty object
   * @param file name of `tokenizer.json` for messages
   * @throws FileFormatError when `tokenizerJson` is not a tokenizer
   */
  constructor(tokenizerJson: unknown, tokenizerConfig: unknown, file: string) {
    const json = new Fields(tokenizerJson, file);
    const config = new Fields(tokenizerConfig, file, "tokenizer_config.json");
    this.vocabSize = [...vocabularyIds(json), ...addedIds(json)].reduce((size, id) => Math.max(size, id + 1), 0);
    this.#file = file;
    this.#tokenizer = build(tokenizerJson as object, tokenizerConfig as object, file);
    this.#special = specialIds(this.#tokenizer, config);
    this.encode("A b"); // Whatever the parts above cannot tell of the file's soundness.
  }

  /**
   * The ids of `text`, special tokens added where the tokenizer says so (BOS in front, mostly).
   * @param addSpecialTokens false for a text that has them already, as a rendered chat does
   * @throws FileFormatError when the tokenizer names a token that it has no id for
   */
  encode(text: string, { addSpecialTokens = true } = {}): number[] {
    const options = { add_special_tokens: addSpecialTokens };
    const ids: unknown[] = failing(this.#file, () => this.#tokenizer.encode(text, options).ids);
    if (ids.every((id): id is number => typeof id === "number")) return ids;
    const found = "a token without an id";
    throw new FileFormatError({ file: this.#file, field: "model.vocab", found, expected: "an id for every token" });
  }

  /**
   * The text of `ids`. Special tokens and ids past the vocabulary show as nothing. Bytes that are not UTF-8 show as U+FFFD.
   */
  decode(ids: readonly number[]): string {
    const visible = ids.filter((id) => this.isVisible(id));
    if (visible.length === 0) return "";
    // Cleaning up would take out spaces before punctuation that the model wrote, in code most of all. It is meant for WordPiece.
    return this.#tokenizer.decode(visible, { clean_up_tokenization_spaces: false });
  }

  /** Whether `other` has the same token for every id. */
  matches(other: TextTokenizer): boolean {
    if (this.vocabSize !== other.vocabSize) return false;
    for (let id = 0; id < this.vocabSize; id++) {
      if (this.#tokenizer.id_to_token(id) !== other.#tokenizer.id_to_token(id)) return false;
    }
    return true;
  }

  /** Whether `id` can show in text. */
  isVisible(id: number): boolean {
    return !this.#special.has(id) && this.#tokenizer.id_to_token(id) !== undefined;
  }
}

/** Above any vocabulary there is; keeps a damaged id from making a table of the same size. */
const MAX_ID = 2 ** 24;

/** `model.vocab`: ids by token, or (Unigram) tokens in the order of their ids. */
function vocabularyIds(json: Fields): number[] {
  const model = json.object("model");
  if (!model) throw json.error("model", "an object");
  const list = model.get("vocab");
  if (Array.isArray(list)) return list.map((_, id) => id);
  const vocabulary = model.object("vocab");
  if (!vocabulary) throw model.error("vocab", "an object of ids by token");
  return vocabulary.entries().map(([token]) => vocabulary.integer(token, { min: 0, max: MAX_ID }));
}

function addedIds(json: Fields): number[] {
  const list = json.get("added_tokens") ?? [];
  if (!Array.isArray(list)) throw json.error("added_tokens", "an array");
  return list.map((entry, index) => {
    const token = new Fields(entry, json.file, `added_tokens.${index}`);
    token.string("content");
    return token.integer("id", { min: 0, max: MAX_ID });
  });
}

function build(json: object, config: object, file: string): Tokenizer {
  const tokenizer = failing(file, () => new Tokenizer({ added_tokens: [], ...json }, config));
  keepByteOrderMarks(tokenizer.decoder);
  return tokenizer;
}

/** The package's decoder of byte tokens drops U+FEFF where it begins a run of them; the original (in Rust) keeps it. */
function keepByteOrderMarks(decoder: Decoder | null): void {
  if (decoder instanceof SequenceDecoder) decoder.decoders.forEach(keepByteOrderMarks);
  if (decoder instanceof ByteFallbackDecoder) decoder.text_decoder = new TextDecoder("utf-8", { ignoreBOM: true });
}

function specialIds(tokenizer: Tokenizer, config: Fields): Set<number> {
  const added = [...tokenizer.get_added_tokens_decoder().values()];
  const further: unknown = config.get("additional_special_tokens");
  const named = (Array.isArray(further) ? further : []).map((token) => tokenizer.token_to_id(token));
  return new Set([
    ...added.filter(({ special }) => special).map(({ id }) => id),
    ...named.filter((id) => id !== undefined),
  ]);
}

/** The package throws plain errors, and type errors where a part of the file is missing. */
function failing<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    const expected = "a tokenizer in the format of Hugging Face's tokenizers";
    throw new FileFormatError({ file, field: "JSON", found, expected }, { cause });
  }
}
