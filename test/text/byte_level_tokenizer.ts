/**
 * A byte-level tokenizer as GPT-2, Llama 3 and SmolLM have it, in small: one token for each of the 256 bytes, a few
 * merges, one special token. No space is dropped anywhere, and a token may end inside a character.
 */

import { TextTokenizer } from "../../src/text/tokenizer.ts";

/** GPT-2's printable stand-in for each byte (`bytes_to_unicode`). */
function byteNames(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCharCode(printable ? byte : next++);
  });
}

export const BYTE_LEVEL_SPECIAL = 260;

export function byteLevelTokenizer(): TextTokenizer {
  return new TextTokenizer(byteLevelJson(), {}, "byte-level tokenizer.json");
}

/** Its `tokenizer.json`. */
export function byteLevelJson() {
  const names = byteNames();
  const pair = (a: number, b: number): [string, string] => [names[a]!, names[b]!];
  // " t", "th", and the first two bytes of most emoji, which end inside a character.
  const merges = [pair(0x20, 0x74), pair(0x74, 0x68), pair(0xf0, 0x9f), pair(0xe6, 0x97)];
  const tokens = [...names, ...merges.map((merge) => merge.join(""))];
  return {
    added_tokens: [{ id: BYTE_LEVEL_SPECIAL, content: "<|end|>", special: true }],
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true },
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
  };
}
