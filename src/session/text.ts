/** A checkpoint's tokenizer and chat template, wherever they stand in it. */

import { ChatTemplate } from "../text/chat_template.ts";
import { eosFromGguf } from "../text/end_of_generation.ts";
import { tokenizerFromGguf } from "../text/gguf_tokenizer.ts";
import { TextTokenizer } from "../text/tokenizer.ts";
import type { TextFiles } from "../weights/checkpoint.ts";

export interface ModelText {
  tokenizer: TextTokenizer;
  /** Undefined where the model has none. */
  chatTemplate: ChatTemplate | undefined;
  /** Ids that end a generation, beside those of the config. */
  eosTokenIds: readonly number[];
}

/** @throws FileFormatError when a file is damaged; UnsupportedModelError for a tokenizer of a kind that is not known */
export function readText(text: TextFiles): ModelText {
  if (text.kind === "gguf") {
    const { metadata, file } = text;
    const { tokenizerJson, tokenizerConfig } = tokenizerFromGguf(metadata, file);
    return {
      tokenizer: new TextTokenizer(tokenizerJson, tokenizerConfig, file),
      chatTemplate: ChatTemplate.read(tokenizerConfig, file),
      eosTokenIds: eosFromGguf(metadata, file),
    };
  }
  const { tokenizerJson, tokenizerConfig, tokenizerFile, tokenizerConfigFile, chatTemplate } = text;
  return {
    tokenizer: new TextTokenizer(tokenizerJson, tokenizerConfig, tokenizerFile),
    chatTemplate: ChatTemplate.read(tokenizerConfig, tokenizerConfigFile, chatTemplate),
    eosTokenIds: [],
  };
}
