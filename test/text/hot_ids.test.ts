/** Which ids are hot: the frequent ones of a tokenizer, and a prompt's own. */

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { frequentIds, hotIds } from "../../src/text/hot_ids.ts";
import { TextTokenizer } from "../../src/text/tokenizer.ts";
import { STORIES } from "../memory_folder.ts";

const read = (file: string): unknown => JSON.parse(readFileSync(`${STORIES}${file}`, "utf8"));
const tokenizer = new TextTokenizer(read("tokenizer.json"), {}, "tokenizer.json");

test("all ids, each once, those of frequent words first", () => {
  const ids = frequentIds(tokenizer, 512);
  expect([...ids].sort((a, b) => a - b)).toEqual(Array.from({ length: 512 }, (_, id) => id));
  const [the] = tokenizer.encode(" the", { addSpecialTokens: false }).slice(-1);
  expect(ids.indexOf(the!)).toBeLessThan(50);
});

test("ascending, as many as asked: EOS, the prompt's last ids for half of them at most, then the frequent ones", () => {
  const frequent = Array.from({ length: 100 }, (_, i) => 99 - i);
  const of = (promptIds: number[], size: number) => [...hotIds(frequent, { promptIds, eosTokenIds: [2], size })];
  expect(of([], 4)).toEqual([2, 97, 98, 99]);
  expect(of([5, 7, 5], 4)).toEqual([2, 5, 98, 99]);
  expect(of([10, 11, 12, 13, 14, 15], 6)).toEqual([2, 14, 15, 97, 98, 99]);
  expect(of([1], 100)).toEqual(Array.from({ length: 100 }, (_, id) => id));
});
