/** Which tokens of a GGUF file end a generation: more than the one that it calls EOS. */

import type { GgufValue } from "../weights/gguf.ts";
import { ggufTexts, specialId, TOKEN } from "./gguf_vocabulary.ts";

type Metadata = ReadonlyMap<string, GgufValue>;

/** End of the text, of a turn, of a message, and of what fills in the middle of a file. */
const FIELDS = ["eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep"].map((name) => `tokenizer.ggml.${name}_token_id`);

/** Tokens that end a generation by their name, which files often leave unsaid (llama.cpp, `llama_vocab::impl::load`). */
const TEXTS: ReadonlySet<string> = new Set([
  ...["<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>"],
  ...["<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<end_of_utterance>", "<｜end▁of▁sentence｜>"],
  ...["<|return|>", "<|call|>", "<|calls|>", "<|flush|>"],
  ...["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<reponame>"],
  ...["<|file_sep|>"],
]);
/** Ends a generation where it is a control token: in Gemma's vocabulary it is HTML, struck through. */
const CONTROL_TEXT = "</s>";
/** Where these are, `<|end|>` ends a message and another one may follow. */
const HARMONY: readonly (readonly string[])[] = [
  ["<|return|>", "<|call|>"],
  ["<|calls|>", "<|flush|>"],
];

/**
 * Every id that ends a generation, ascending.
 * @throws FileFormatError when the tokens are no array of texts
 */
export function eosFromGguf(metadata: Metadata, file: string): number[] {
  const tokens = ggufTexts(metadata, "tokenizer.ggml.tokens", file) ?? [];
  const types = metadata.get("tokenizer.ggml.token_type");
  const typeOf = (id: number) => (ArrayBuffer.isView(types) ? types[id] : TOKEN.normal);
  const ids = new Set(
    FIELDS.map((field) => specialId(metadata, field, tokens.length)).filter((id) => id !== undefined),
  );
  const found = new Set<string>();
  for (const [id, token] of tokens.entries()) {
    if (!TEXTS.has(token) && !(token === CONTROL_TEXT && typeOf(id) === TOKEN.control)) continue;
    found.add(token);
    ids.add(id);
  }
  if (HARMONY.some((texts) => texts.every((text) => found.has(text)))) ids.delete(tokens.indexOf("<|end|>"));
  return [...ids].sort((a, b) => a - b);
}
