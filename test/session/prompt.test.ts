/** Prompts as ids: texts, ids and chats, without a GPU. */

import { describe, expect, test } from "vitest";
import { InputError } from "../../src/errors.ts";
import { chatIds, isAnswered, isChat, type PromptReader, readPrompt, renderChat } from "../../src/session/prompt.ts";
import { ChatTemplate } from "../../src/text/chat_template.ts";
import { TextTokenizer } from "../../src/text/tokenizer.ts";
import type { ChatOptions, Prompt } from "../../src/types.ts";
import { storiesJson } from "../text/sentencepiece_tokenizers.ts";

const TEMPLATE =
  "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
const CONFIG = { bos_token: "<s>", chat_template: TEMPLATE };
const tokenizer = new TextTokenizer(storiesJson(), CONFIG, "t");
const reader: PromptReader = { name: "m", tokenizer, chatTemplate: ChatTemplate.read(CONFIG, "c") };
const CHAT = [
  { role: "system", content: "Be kind." },
  { role: "user", content: "Hi" },
];
const BOS = 1;

test("a text gets the tokenizer's special tokens, ids are taken as they are", () => {
  expect(readPrompt(reader, "Hi")).toEqual({ ids: tokenizer.encode("Hi"), generated: [] });
  expect(readPrompt(reader, "Hi").ids[0]).toBe(BOS);
  const ids = [403, 407];
  expect(readPrompt(reader, ids)).toEqual({ ids, generated: [] });
  expect(readPrompt(reader, ids).ids).not.toBe(ids);
  expect(readPrompt(reader, [])).toEqual({ ids: [], generated: [] });
});

describe("a transcript", () => {
  const ids = [1, 2, 3, 4, 5, 6];

  test("is taken as it is, but for ranges of nothing", () => {
    const generated: [number, number][] = [
      [1, 3],
      [3, 3],
      [4, 6],
    ];
    const read = readPrompt(reader, { ids, generated });
    expect(read).toEqual({ ids, generated: [generated[0], generated[2]] });
    expect(isAnswered({ ids, generated: [] })).toBe(true);
    expect(isAnswered(ids)).toBe(false);
  });

  test.each([
    ["a place behind its end", [[1, 7]], "generated[0][1]: found 7, expected an integer from 1 to 6"],
    ["a range that ends before it begins", [[3, 2]], "generated[0][1]: found 2"],
    ["ranges in another order", [[3, 4], [1, 2]], "generated[1][0]: found 1, expected an integer from 4 to 6"], // biome-ignore format: one a line
    ["what is no place", [[0.5, 2]], "generated[0][0]: found 0.5"],
    ["what is no range", [3], "generated[0]: found 3, expected two places"],
  ])("%s is refused", (_, generated, message) => {
    expect(() => readPrompt(reader, { ids, generated } as unknown as Prompt)).toThrow(message);
  });
});

describe("a chat", () => {
  const rendered = "<s><system>Be kind.<user>Hi<assistant>";

  test("is rendered, ready for the answer", () => {
    expect(renderChat(reader, CHAT)).toBe(rendered);
    expect(renderChat(reader, CHAT, { addGenerationPrompt: false })).toBe("<s><system>Be kind.<user>Hi");
  });

  test("has the special tokens of its template, and no second BOS", () => {
    const { ids } = readPrompt(reader, CHAT);
    expect(ids).toEqual(chatIds(reader, CHAT));
    expect(ids.filter((id) => id === BOS)).toHaveLength(1);
    expect(ids).toEqual(tokenizer.encode(rendered, { addSpecialTokens: false }));
    const shorter = chatIds(reader, CHAT, { addGenerationPrompt: false });
    expect(ids.slice(0, shorter.length)).not.toEqual([BOS, ...shorter]);
  });

  test("is told from texts and ids", () => {
    expect(isChat(CHAT)).toBe(true);
    expect([isChat("Hi"), isChat([1, 2]), isChat([])]).toEqual([false, false, false]);
  });

  test("is refused by a model without a template: the error says so and names the model", () => {
    const stories = { ...reader, chatTemplate: undefined };
    expect(() => readPrompt(stories, CHAT)).toThrow(InputError);
    expect(() => readPrompt(stories, CHAT)).toThrow("m has no chat template");
  });

  test("takes no unknown options", () => {
    expect(() => renderChat(reader, CHAT, { tool: [] } as ChatOptions)).toThrow(InputError);
  });
});

test.each([[undefined], [null], [3], [{ role: "user", content: "Hi" }]])("%s is no prompt", (prompt) => {
  expect(() => readPrompt(reader, prompt as unknown as Prompt)).toThrow(InputError);
  expect(() => readPrompt(reader, prompt as unknown as Prompt)).toThrow(expect.objectContaining({ field: "prompt" }));
});
