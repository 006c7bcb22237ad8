import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AutoTokenizer, env } from "@huggingface/transformers";
import { describe, expect, test } from "vitest";
import { FileFormatError } from "../../src/errors.ts";
import { TextTokenizer } from "../../src/text/tokenizer.ts";
import { type Json, readJson, STORIES, seeded } from "../weights/model_folder.ts";
import { byteLevelTokenizer } from "./byte_level_tokenizer.ts";

env.allowRemoteModels = false;
env.localModelPath = join(STORIES, "..");

const JSON_FILE = readJson(STORIES, "tokenizer.json");
const CONFIG = readJson(STORIES, "tokenizer_config.json");
const tokenizer = new TextTokenizer(JSON_FILE, CONFIG, "tokenizer.json");

const TEXTS = [
  "",
  " ",
  "   ",
  "Once upon a time",
  "Once  upon   a    time ",
  "\n",
  "\n\nHi\n\tthere\r\n",
  "naïve café – “quotes” …",
  "日本語のテキスト",
  "😀 emoji 👩‍👩‍👧‍👦 🏳️‍🌈",
  "e\u0301 combining",
  "\uFEFFBOM a\uFEFFb",
  "\u0000nul",
  "<s>",
  "a<s>b",
  "a <s> b</s>",
  "<0x41> ▁ a▁b",
  "\u00A0nbsp\u3000ideographic",
  "x".repeat(300),
  " ".repeat(300),
  "$& $1 $` constructor __proto__",
  "\uD83D lone",
];

/** Text of what real prompts are made of, and of what they are not. */
function randomText(random: () => number): string {
  const alphabet = [..."abcdefghijklmno      \n\t.,!?'\"ABCé日😀ßΩ▁0123\u200B", "<s>", "</s>", " the", " Lily"];
  const length = 1 + Math.floor(random() * 60);
  return Array.from({ length }, () => alphabet[Math.floor(random() * alphabet.length)]).join("");
}

describe("the default model's tokenizer", () => {
  test("ids are those of the golden cases", () => {
    const golden = JSON.parse(readFileSync(join(STORIES, "golden.json"), "utf8"));
    for (const { text, prompt, greedy, text_out } of golden.cases) {
      if (text !== undefined) expect(tokenizer.encode(text)).toEqual(prompt);
      if (text_out !== undefined) expect(tokenizer.decode(greedy)).toBe(text_out);
    }
    expect.hasAssertions();
  });

  test("ids are those of transformers.js' AutoTokenizer", async () => {
    const theirs = await AutoTokenizer.from_pretrained("stories260k-layerskip");
    const random = seeded(Number(process.env.SEED ?? 5));
    for (const text of [...TEXTS, ...Array.from({ length: 200 }, () => randomText(random))]) {
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(theirs.encode(text));
    }
  });

  test("ids and text are those of the Rust original, also where transformers.js drops a byte order mark", () => {
    const { cases } = JSON.parse(readFileSync(join(import.meta.dirname, "rust_tokenizers.json"), "utf8"));
    for (const { text, ids, decoded } of cases) {
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
      expect(tokenizer.decode(ids)).toBe(decoded);
    }
    expect(cases.length).toBeGreaterThan(30);
  });

  test("text comes back as it went in", () => {
    const random = seeded(6);
    const texts = [...TEXTS, ...Array.from({ length: 200 }, () => randomText(random))];
    for (const text of texts.filter((text) => !/<\/?s>|▁|\uD83D lone/.test(text))) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
  });

  test("special tokens and unknown ids show as nothing", () => {
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer.decode([1, 2, 0, 1])).toBe("");
    expect(tokenizer.decode([1, 403, 1, 99_999, 407])).toBe(tokenizer.decode([403, 407]));
  });

  test("a space that the model wrote before punctuation stays, whatever tokenizer_config.json says", () => {
    const cleaning = new TextTokenizer(JSON_FILE, { ...CONFIG, clean_up_tokenization_spaces: true }, "tokenizer.json");
    expect(cleaning.decode(cleaning.encode("a ? b : c .d 's"))).toBe("a ? b : c .d 's");
  });

  test("vocabSize counts every id, added ones as well", () => {
    expect(tokenizer.vocabSize).toBe(512);
    const added_tokens = [...(JSON_FILE.added_tokens as Json[]), { id: 600, content: "<|x|>", special: true }];
    const more = new TextTokenizer({ ...JSON_FILE, added_tokens }, CONFIG, "tokenizer.json");
    expect(more.vocabSize).toBe(601);
    expect(more.encode("a<|x|>")).toContain(600);
  });

  test("additional special tokens of tokenizer_config.json show as nothing", () => {
    const config = { ...CONFIG, additional_special_tokens: ["▁the"] };
    const [, the] = tokenizer.encode("the");
    expect(tokenizer.decode([the!])).toBe("the");
    expect(new TextTokenizer(JSON_FILE, config, "tokenizer.json").decode([the!])).toBe("");
  });
});

test("a byte-level tokenizer's text comes back as it went in", () => {
  const byteLevel = byteLevelTokenizer();
  for (const text of TEXTS.filter((text) => !/<\/?s>|\uD83D lone/.test(text))) {
    expect(byteLevel.decode(byteLevel.encode(text))).toBe(text);
  }
});

describe("files that are no tokenizer", () => {
  const model = JSON_FILE.model as Json;
  const cases: [string, unknown, string][] = [
    ["null", null, "JSON"],
    ["an array", [], "JSON"],
    ["an empty object", {}, "model"],
    ["a model without vocabulary", { ...JSON_FILE, model: { type: "BPE" } }, "model.vocab"],
    ["an id that is no integer", { ...JSON_FILE, model: { ...model, vocab: { a: 1.5 } } }, "model.vocab.a"],
    ["a huge id", { ...JSON_FILE, model: { ...model, vocab: { a: 2 ** 40 } } }, "model.vocab.a"],
    ["no merges", { ...JSON_FILE, model: { ...model, merges: undefined } }, "JSON"],
    ["merges that are numbers", { ...JSON_FILE, model: { ...model, merges: [1, 2] } }, "JSON"],
    ["an unknown model", { ...JSON_FILE, model: { type: "X", vocab: {} } }, "model.vocab"],
    ["an unknown normalizer", { ...JSON_FILE, normalizer: { type: "X" } }, "JSON"],
    ["an unknown decoder", { ...JSON_FILE, decoder: { type: "X" } }, "JSON"],
    ["a missing part", { ...JSON_FILE, post_processor: undefined, decoder: undefined }, "JSON"],
    ["added tokens that are an object", { ...JSON_FILE, added_tokens: {} }, "added_tokens"],
    ["an added token without content", { ...JSON_FILE, added_tokens: [{ id: 3 }] }, "added_tokens.0.content"],
    ["an added token without id", { ...JSON_FILE, added_tokens: [{ content: "x" }] }, "added_tokens.0.id"],
    [
      "a template with a token that is not there",
      {
        ...JSON_FILE,
        model: { ...model, unk_token: null },
        post_processor: { type: "TemplateProcessing", single: [{ SpecialToken: { id: "<x>" } }] },
      },
      "model.vocab",
    ],
  ];
  test.each(cases)("%s: the error names the file and the field", (_, json, field) => {
    const making = () => new TextTokenizer(json, CONFIG, "m/tokenizer.json");
    expect(making).toThrow(FileFormatError);
    expect(making).toThrow(expect.objectContaining({ file: "m/tokenizer.json", field }));
  });

  test("tokenizer_config.json that is no object", () => {
    expect(() => new TextTokenizer(JSON_FILE, 3, "m/tokenizer.json")).toThrow(
      expect.objectContaining({ field: "tokenizer_config.json" }),
    );
  });
});
