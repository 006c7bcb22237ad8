/** What a caller gives to be continued, as ids. */

import { InputError } from "../errors.ts";
import { quote } from "../json.ts";
import type { ChatTemplate } from "../text/chat_template.ts";
import type { TextTokenizer } from "../text/tokenizer.ts";
import type { ChatMessage, ChatOptions, Prompt, Transcript } from "../types.ts";
import type { ChatText } from "./chat_transcript.ts";
import { requireKnown } from "./options.ts";
import { isTranscript, readTranscript } from "./transcript.ts";

/** What turns prompts into ids. */
export interface PromptReader {
  /** The model's name for messages. */
  name: string;
  tokenizer: TextTokenizer;
  /** Undefined where the model has none. */
  chatTemplate: ChatTemplate | undefined;
}

const CHAT_OPTIONS: readonly (keyof ChatOptions)[] = [
  "addGenerationPrompt",
  "tools",
  "documents",
  "template",
  "variables",
];

/** Whether a prompt is a chat that the model answers, not a text that it continues. */
export function isChat(prompt: Prompt): prompt is readonly ChatMessage[] {
  return Array.isArray(prompt) && typeof prompt[0] === "object";
}

/** Whether what follows a prompt is an answer, which begins on its own, and does not continue its text. */
export function isAnswered(prompt: Prompt): boolean {
  return isChat(prompt) || isTranscript(prompt);
}

/**
 * The ids of a prompt, of which there may be none, and which of them were generated.
 * @throws InputError for what is no prompt, and for messages that the model or its template cannot take; FileFormatError when
 * the template is damaged
 */
export function readPrompt(reader: PromptReader, prompt: Prompt): Transcript {
  const given = (ids: readonly number[]): Transcript => ({ ids: [...ids], generated: [] });
  if (typeof prompt === "string") return given(reader.tokenizer.encode(prompt));
  if (isChat(prompt)) return given(chatIds(reader, prompt));
  if (Array.isArray(prompt)) return given(prompt);
  if (isTranscript(prompt)) return readTranscript(prompt);
  const expected = "a text, an array of ids, an array of messages or a transcript";
  throw new InputError({ file: "generate", field: "prompt", found: quote(prompt), expected });
}

/**
 * Messages as the text that the model was trained on.
 * @throws InputError when the model has no template, or it refuses the messages; FileFormatError when it is damaged
 */
export function renderChat(
  { name, chatTemplate }: PromptReader,
  messages: readonly ChatMessage[],
  options: ChatOptions = {},
): string {
  requireKnown("chat", options, CHAT_OPTIONS);
  if (chatTemplate) return chatTemplate.render(messages, options);
  const found = `messages, but ${name} has no chat template`;
  throw new InputError({ file: "chat", field: "messages", found, expected: "a text or ids: it is no chat model" });
}

/**
 * How the messages of a chat become ids.
 * @throws as `renderChat` does, where the model has no template
 */
export function chatText(reader: PromptReader, options: ChatOptions): ChatText {
  const { tokenizer, chatTemplate } = reader;
  if (!chatTemplate) renderChat(reader, [], options);
  requireKnown("chat", options, CHAT_OPTIONS);
  return {
    render: (messages) => renderChat(reader, messages, options),
    encode: (text) => tokenizer.encode(text, { addSpecialTokens: false }),
    decode: (ids) => tokenizer.decode(ids),
  };
}

/**
 * The ids of that text. It has its special tokens already: none are added.
 * @throws as `renderChat` does
 */
export function chatIds(reader: PromptReader, messages: readonly ChatMessage[], options: ChatOptions = {}): number[] {
  return reader.tokenizer.encode(renderChat(reader, messages, options), { addSpecialTokens: false });
}
