import { describe, expect, test } from "vitest";
import { StreamingDecoder } from "../../src/text/streaming_decoder.ts";
import { TextTokenizer } from "../../src/text/tokenizer.ts";
import { readJson, STORIES, seeded } from "../weights/model_folder.ts";
import { BYTE_LEVEL_SPECIAL, byteLevelJson, byteLevelTokenizer } from "./byte_level_tokenizer.ts";
import { gemmaJson } from "./sentencepiece_tokenizers.ts";
import { SMOLLM2_CASES, smollm2Tokenizer } from "./smollm2.ts";

const stories = new TextTokenizer(readJson(STORIES, "tokenizer.json"), readJson(STORIES, "tokenizer_config.json"), "t");
const byteLevel = byteLevelTokenizer();
const gemma = new TextTokenizer(gemmaJson(), {}, "gemma");
const smollm2 = smollm2Tokenizer();
/** With a token of its own that shows. */
const withUserToken = new TextTokenizer(
  { ...byteLevelJson(), added_tokens: [...byteLevelJson().added_tokens, { id: 261, content: "<日>", special: false }] },
  {},
  "with a user's token",
);
const BOS = 1;
/** Id of a byte token `<0xNN>`. */
const byte = (value: number) => 3 + value;

/** The parts of a stream, flush last. */
function stream(tokenizer: TextTokenizer, prompt: readonly number[], ids: readonly number[]): string[] {
  const decoder = new StreamingDecoder(tokenizer, prompt);
  return [...ids.map((id) => decoder.push(id)), decoder.flush()];
}

/** What a stream has to join to: the text of all, less the prompt's own without a character that its end cuts off. */
function expected(tokenizer: TextTokenizer, prompt: readonly number[], ids: readonly number[]): string {
  const shown = tokenizer.decode(prompt).replace(/\uFFFD$/, "");
  return tokenizer.decode([...prompt, ...ids]).slice(shown.length);
}

describe("parts joined continue the prompt exactly", () => {
  test.each([
    ["sentencepiece", stories],
    ["sentencepiece without a space in front", gemma],
    ["byte-level", byteLevel],
    ["byte-level with a user's token", withUserToken],
    ["SmolLM2's", smollm2],
  ])("%s: any text cut anywhere", (_, tokenizer) => {
    const seed = Number(process.env.SEED ?? 9);
    const random = seeded(seed);
    const alphabet = [..."abcthe th     \n.é日旦😀👩🏳ß\u200D\uFEFF", "<日>", " Lily", "日旦", " the"];
    for (let i = 0; i < 300; i++) {
      const length = 1 + Math.floor(random() * 120);
      const text = Array.from({ length }, () => alphabet[Math.floor(random() * alphabet.length)]).join("");
      const ids = tokenizer.encode(text);
      const cut = Math.floor(random() * (ids.length + 1));
      const parts = stream(tokenizer, ids.slice(0, cut), ids.slice(cut));
      expect(parts.join(""), `seed ${seed}, case ${i}`).toBe(expected(tokenizer, ids.slice(0, cut), ids.slice(cut)));
      // Valid text never shows a broken character on the way, nor holds anything back at its end.
      expect(parts.join("")).not.toContain("\uFFFD");
      expect(parts.at(-1)).toBe("");
    }
  });

  test.each([
    ["sentencepiece", stories, 512],
    ["sentencepiece without a space in front", gemma, 522],
    ["byte-level", byteLevel, 262],
    ["byte-level with a user's token", withUserToken, 263],
    ["SmolLM2's", smollm2, 49_153],
  ])("%s: any ids, valid text or not", (_, tokenizer, vocabSize) => {
    const seed = Number(process.env.SEED ?? 10);
    const random = seeded(seed);
    for (let i = 0; i < 300; i++) {
      const bytesOnly = random() < 0.3;
      const id = () => Math.floor(random() * (bytesOnly ? 259 : vocabSize));
      const prompt = Array.from({ length: Math.floor(random() * 20) }, id);
      const ids = Array.from({ length: Math.floor(random() * 150) }, id);
      const parts = stream(tokenizer, prompt, ids);
      expect(parts.join(""), `seed ${seed}, case ${i}`).toBe(expected(tokenizer, prompt, ids));
    }
  });
});

test("an answer begins on its own: without a prompt the parts join to the ids decoded alone", () => {
  for (const { greedy } of SMOLLM2_CASES) {
    expect(stream(smollm2, [], greedy).join("")).toBe(smollm2.decode(greedy));
  }
  const answer = stories.encode("Hello 😀 there").slice(1);
  expect(stream(stories, [], answer).join("")).toBe("Hello 😀 there");
});

test("a user's token inside a character shows the broken bytes around it, each once", () => {
  const [first, ...rest] = [...new TextEncoder().encode("é")];
  expect(stream(withUserToken, [], [first!, 261, ...rest, 97])).toEqual(["", "\uFFFD<日>", "", "\uFFFDa", ""]);
});

describe("spaces of sentencepiece words", () => {
  const words = stories.encode("Once upon a time").slice(1);

  test("the space before the first new word is kept after a prompt", () => {
    const parts = stream(stories, [BOS, ...words.slice(0, 1)], words.slice(1));
    expect(parts.join("")).toBe(" upon a time");
  });

  test("there is none before the first word of a text", () => {
    expect(stream(stories, [BOS], words).join("")).toBe("Once upon a time");
    expect(stream(stories, [], words).join("")).toBe("Once upon a time");
  });

  test("the space after many special tokens in a row is kept", () => {
    const specials = new Array<number>(40).fill(BOS);
    expect(stream(stories, [BOS, ...words, ...specials], words).join("")).toBe(" Once upon a time");
    expect(stream(stories, [BOS, ...words], [...specials, ...words]).join("")).toBe(" Once upon a time");
  });
});

describe("characters of several tokens", () => {
  test("a character shows with its last byte and not before", () => {
    const bytes = [...new TextEncoder().encode("😀é")].map(byte);
    expect(stream(stories, stories.encode("Hi"), bytes)).toEqual(["", "", "", "😀", "", "é", ""]);
  });

  test("a character begun in the prompt is finished by the first new token", () => {
    const bytes = [...new TextEncoder().encode("😀")].map(byte);
    expect(stream(stories, [BOS, ...bytes.slice(0, 3)], [bytes[3]!])).toEqual(["😀", ""]);
  });

  test("a character never finished shows as U+FFFD: when it is clear, or on flushing", () => {
    const a = stories.encode("a")[1]!;
    expect(stream(stories, [BOS, a], [byte(0xe2), byte(0x82), a])).toEqual(["", "", "\uFFFD a", ""]);
    expect(stream(stories, [BOS, a], [byte(0xe2), byte(0x82)])).toEqual(["", "", "\uFFFD"]);
  });

  test("flushing twice gives nothing twice", () => {
    const decoder = new StreamingDecoder(stories, [BOS]);
    decoder.push(byte(0xe2));
    expect([decoder.flush(), decoder.flush()]).toEqual(["\uFFFD", ""]);
  });
});

test("special tokens give nothing and do not stand in the way of a character", () => {
  expect(stream(stories, stories.encode("Hi"), [1, 2, 0])).toEqual(["", "", "", ""]);
  const [first, ...rest] = [...new TextEncoder().encode("é")];
  expect(stream(byteLevel, [], [first!, BYTE_LEVEL_SPECIAL, ...rest])).toEqual(["", "", "é", ""]);
});

test("a token costs the same however long the text is, also where no byte of it is valid", () => {
  const lengths: number[] = [];
  const watched = Object.assign(Object.create(stories) as TextTokenizer, {
    decode(ids: readonly number[]) {
      lengths.push(ids.length);
      return stories.decode(ids);
    },
    isVisible: (id: number) => stories.isVisible(id),
  });
  const word = stories.encode("time")[1]!;
  for (const id of [word, byte(0xff), byte(0x80)]) {
    const decoder = new StreamingDecoder(watched, new Array<number>(5000).fill(word));
    let shown = "";
    for (let i = 0; i < 2000; i++) shown += decoder.push(id);
    shown += decoder.flush();
    expect(shown).toBe(stories.decode([word, ...new Array<number>(2000).fill(id)]).slice("time".length));
  }
  expect(Math.max(...lengths)).toBeLessThanOrEqual(32);
});
