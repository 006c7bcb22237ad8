/** Two SentencePiece tokenizers, as `tokenizer.json`: the default model's, and one made of it in the manner of Gemma. */

import { readJson, STORIES } from "../weights/model_folder.ts";
import type { TokenizerJson } from "./gguf_metadata.ts";

/** As Llama 2's: a space in front of the text and after each special token. */
export function storiesJson(): TokenizerJson {
  return readJson(STORIES, "tokenizer.json") as unknown as TokenizerJson;
}

/** As Gemma's: no space in front, tokens of several spaces and line ends that come before all others, tokens for turns. */
export function gemmaJson(): TokenizerJson {
  const json = storiesJson();
  const vocab = { ...json.model.vocab };
  const added = [...json.added_tokens];
  const add = (content: string, special: boolean) => {
    vocab[content] = Object.keys(vocab).length;
    added.push({ id: vocab[content], content, special });
  };
  const spaces = [2, 3, 4, 5].map((length) => "▁".repeat(length));
  for (const content of ["\n\n", "\n\n\n", ...spaces, "<b>"]) add(content, false);
  for (const content of ["<turn>", "</turn>"]) add(content, true);
  // Longer left parts first, as transformers sorts merges of equal scores.
  const runs = [4, 3, 2, 1].flatMap((left) =>
    [4, 3, 2, 1].filter((right) => left + right <= 5).map((right) => `${"▁".repeat(left)} ${"▁".repeat(right)}`),
  );
  const decoders = [
    { type: "Replace", pattern: { String: "▁" }, content: " " },
    { type: "ByteFallback" },
    { type: "Fuse" },
  ];
  return {
    ...json,
    added_tokens: added.map((token) => ({ ...token, normalized: false })),
    normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
    decoder: { type: "Sequence", decoders },
    model: { ...json.model, vocab, merges: [...runs, ...json.model.merges] },
  } as TokenizerJson;
}
