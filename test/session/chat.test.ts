/** Messages through the public surface: rendered, answered, and streamed as an answer. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { FileFormatError, InputError, load } from "../../src/index.ts";
import { memoryFolder, STORIES } from "../memory_folder.ts";

const CHAT = [{ role: "user", content: "Once upon a time" }];
const FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/** The default model with a chat template. */
function chatModel(template: string) {
  const files = Object.fromEntries(FILES.map((name) => [name, Uint8Array.from(readFileSync(`${STORIES}${name}`))]));
  return memoryFolder("chat-model", { ...files, "chat_template.jinja": new TextEncoder().encode(template) });
}

test("a chat is answered from the ids of its text, and the answer begins on its own", async () => {
  await using model = await load(chatModel("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"));
  expect(model.chats).toBe(true);
  expect(model.renderChat(CHAT)).toBe("<s>Once upon a time");
  const ids = model.chatIds(CHAT);
  expect(ids).toEqual(model.tokenize("Once upon a time"));

  const answer = model.generate(CHAT, { maxTokens: 12 });
  let streamed = "";
  for await (const part of answer) streamed += part.text;
  const result = await answer.result();
  expect(result.promptIds).toEqual(ids);
  expect(streamed).toBe(result.text);

  const continued = model.generate(ids, { maxTokens: 12 });
  let continuation = "";
  for await (const part of continued) continuation += part.text;
  expect((await continued.result()).ids).toEqual(result.ids);
  expect(model.decode(ids) + continuation).toBe(model.decode([...ids, ...result.ids]));
});

test("a damaged template is in nobody's way who does not chat", async () => {
  await using model = await load(chatModel("{% if %}"));
  expect((await model.generate("Once", { maxTokens: 2 }).result()).ids).toHaveLength(2);
  expect(() => model.generate(CHAT)).toThrow(FileFormatError);
  expect(() => model.renderChat(CHAT)).toThrow("chat_template.jinja");
});

test("a model without a template says so", async () => {
  await using model = await load(STORIES);
  expect(model.chats).toBe(false);
  expect(() => model.generate(CHAT)).toThrow(InputError);
  expect(() => model.chatIds(CHAT)).toThrow("has no chat template");
});
