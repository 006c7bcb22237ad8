/**
 * The recordings that controllers are replayed on (test/decode/controllers): for each text of the default model, how many
 * drafts in a row each exit layer gets right from each position.
 *
 * One round drafts as many as it can from position n and `a` agree; from position n + i, i <= a, the same drafts follow, so
 * a - i agree; the next round begins at n + a + 1. `LAYERLEAP_WRITE_RECORDINGS=1` writes the file, else a text is recorded
 * again and compared.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type GenerateOptions, load, type Model } from "../../src/index.ts";
import { STORIES } from "../memory_folder.ts";
import { SLOW } from "../slow.ts";
import type { RecordedText } from "./controllers/replay.ts";

const FILE = new URL("recorded_acceptances.json", import.meta.url);
/** Drafts of a round, and so the longest run that is told. */
const LONGEST = 31;

const TEXTS: Record<string, { prompt: string; options: GenerateOptions }> = {
  "once, greedy": { prompt: "Once upon a time", options: { maxTokens: 450 } },
  "dog, greedy": { prompt: "The big dog saw a bird in the tree. He", options: { maxTokens: 450 } },
  "rain, greedy": { prompt: "It was raining and Lily could not go out to play.", options: { maxTokens: 450 } },
  "once, temperature 0.7": { prompt: "Once upon a time", options: { maxTokens: 450, temperature: 0.7, seed: 1 } },
  "Tom, temperature 1": { prompt: "Tom had a red ball.", options: { maxTokens: 450, temperature: 1, seed: 2 } },
  "Mia, temperature 1, top-p 0.9": {
    prompt: "Mia and her mom went to the park.",
    options: { maxTokens: 450, temperature: 1, topP: 0.9, seed: 3 },
  },
  "cat, temperature 1.3": { prompt: "A cat sat on the mat.", options: { maxTokens: 450, temperature: 1.3, seed: 4 } },
};

let model: Model;
beforeAll(async () => {
  model = await load(STORIES);
});
afterAll(() => model.dispose());

async function record(name: string, exitLayers: readonly number[] = [1, 2, 3, 4]): Promise<RecordedText> {
  const { prompt, options } = TEXTS[name]!;
  const { layers } = model.spec;
  const exits: Record<string, number[]> = {};
  for (const exitLayer of exitLayers) {
    const drafting = { exitLayer, draftLength: LONGEST, ignoreEos: true };
    const { rounds } = await model.generate(prompt, { ...options, ...drafting }).result();
    exits[exitLayer] = rounds.flatMap(({ accepted }) => Array.from({ length: accepted + 1 }, (_, i) => accepted - i));
  }
  return { name, layers, exits };
}

if (process.env.LAYERLEAP_WRITE_RECORDINGS === "1") {
  test("recordings are written", { timeout: 3_600_000 }, async () => {
    const texts: RecordedText[] = [];
    for (const name of Object.keys(TEXTS)) texts.push(await record(name));
    const lines = texts.map((text) => JSON.stringify(text)).join(",\n");
    writeFileSync(FILE, `{"texts":[\n${lines}\n]}\n`);
  });
} else {
  const { texts } = JSON.parse(readFileSync(FILE, "utf8")) as { texts: RecordedText[] };

  test("the recordings are those of the texts above, each as long at every exit", () => {
    expect(texts.map(({ name }) => name)).toEqual(Object.keys(TEXTS));
    for (const { exits } of texts) {
      expect(Object.keys(exits)).toEqual(["1", "2", "3", "4"]);
      expect(new Set(Object.values(exits).map((runs) => runs.length)).size).toBe(1);
    }
  });

  test.runIf(SLOW)("recorded again, a text agrees as often", async () => {
    const name = "Tom, temperature 1";
    const { exits } = texts.find((text) => text.name === name)!;
    const again = await record(name);
    expect(again.exits).toEqual(exits);
  });
}
