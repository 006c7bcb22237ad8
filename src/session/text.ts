/**
 * A checkpoint's tokenizer and chat template, wherever they stand in it. What reads GGUF, and what renders templates, comes with the first model that
 * has one: others do without.
 */

import { script } from "../scripts.ts";
import type { ChatTemplate } from "../text/chat_template.ts";
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
export async function readText(text: TextFiles): Promise<ModelText> {
  if (text.kind === "gguf") {
    const { metadata, file } = text;
    const [{ tokenizerFromGguf }, { eosFromGguf }] = await script(
      Promise.all([import("../text/gguf_tokenizer.ts"), import("../text/end_of_generation.ts")]),
    );
    const { tokenizerJson, tokenizerConfig } = tokenizerFromGguf(metadata, file);
    return {
      tokenizer: new TextTokenizer(tokenizerJson, tokenizerConfig, file),
      chatTemplate: await readTemplate(tokenizerConfig, file),
      eosTokenIds: eosFromGguf(metadata, file),
    };
  }
  const { tokenizerJson, tokenizerConfig, tokenizerFile, tokenizerConfigFile, chatTemplate } = text;
  return {
    tokenizer: new TextTokenizer(tokenizerJson, tokenizerConfig, tokenizerFile),
    chatTemplate: await readTemplate(tokenizerConfig, tokenizerConfigFile, chatTemplate),
    eosTokenIds: [],
  };
}

async function readTemplate(...[config, file, jinja]: Parameters<typeof ChatTemplate.read>) {
  const stated = (config as { chat_template?: unknown } | null | undefined)?.chat_template;
  if (!jinja && (stated === undefined || stated === null)) return undefined;
  return (await script(import("../text/chat_template.ts"))).ChatTemplate.read(config, file, jinja);
}
