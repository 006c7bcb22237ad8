/** What `layerleap generate` makes of its options: the library gets them, and what it tells of them is shown. */

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { report } from "../../src/cli/report.ts";
import { type GenerateOptions, load, type Model } from "../../src/index.ts";
import { SLOW } from "../slow.ts";
import { layerleap, MODEL } from "./command.ts";

const PROMPT = "Tom and Lily were at the beach.";

let folder: string;
let model: Model;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerleap-test-"));
  model = await load(MODEL);
});

afterAll(async () => {
  await model.dispose();
  await rm(folder, { recursive: true });
});

/** The trace's lines; each is whole. */
async function linesOf(path: string) {
  const text = await readFile(path, "utf8");
  expect(text).toMatch(/\n$/);
  const [head, ...rounds] = text.trimEnd().split("\n");
  return { head: JSON.parse(head!), rounds: rounds.map((line) => JSON.parse(line)) };
}

describe("all options at once", () => {
  const flags = [
    ...["--temperature", "1.2", "--top-k", "200", "--top-p", ".98", "--min-p", "1e-4", "--typical-p", "0.99"],
    ...["--repetition-penalty", "1.1", "--frequency-penalty", "0.25", "--presence-penalty", "-0.5"],
    ...[
      "--logit-bias",
      "432=-inf",
      "--logit-bias",
      "426=1.5",
      "--logit-bias",
      "426=-1.5",
      "--seed",
      "9007199254740991",
    ],
    ...["--stop", "\n\n", "--stop", "xyz", "--time-limit", "599.5", "--max-tokens", "40", "--ignore-eos"],
    ...["--drafter", "layerskip", "--exit-layer", "1", "--draft-length", "3"],
    ...["--controller", "confidence", "--accept-rule", "ratio", "--logprobs", "--top-logprobs", "2"],
  ];
  const options: GenerateOptions = {
    ...{ temperature: 1.2, topK: 200, topP: 0.98, minP: 1e-4, typicalP: 0.99 },
    ...{ repetitionPenalty: 1.1, frequencyPenalty: 0.25, presencePenalty: -0.5 },
    ...{ logitBias: { 432: Number.NEGATIVE_INFINITY, 426: -1.5 }, seed: Number.MAX_SAFE_INTEGER },
    ...{ stop: ["\n\n", "xyz"], timeLimitMs: 599_500, maxTokens: 40, ignoreEos: true },
    ...{ drafter: "layerskip", exitLayer: 1, draftLength: 3, controller: "confidence", acceptRule: "ratio" },
    ...{ logprobs: true, topLogprobs: 2 },
  };

  test("reach the library; --json and --trace tell the same", async () => {
    const trace = join(folder, "all.jsonl");
    const run = await layerleap(["generate", PROMPT, ...flags, "--json", "--trace", trace]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    const output = JSON.parse(run.stdout);
    const { head, rounds } = await linesOf(trace);

    expect(head).toMatchObject({ model: MODEL, device: output.device, dtype: "f32", kernels: output.kernels });
    expect(head).toMatchObject({ seed: Number.MAX_SAFE_INTEGER, prompt_ids: output.prompt_ids });
    expect(head.options).toEqual({
      ...{ temperature: 1.2, top_k: 200, top_p: 0.98, min_p: 1e-4, typical_p: 0.99 },
      ...{ repetition_penalty: 1.1, frequency_penalty: 0.25, presence_penalty: -0.5 },
      ...{ logit_bias: { 432: "-Infinity", 426: -1.5 }, seed: Number.MAX_SAFE_INTEGER },
      ...{ stop: ["\n\n", "xyz"], time_limit_ms: 599_500, max_tokens: 40, ignore_eos: true },
      ...{ drafter: "layerskip", exit_layer: 1, draft_length: 3, controller: "confidence", accept_rule: "ratio" },
      ...{ logprobs: true, top_logprobs: 2, draft_probabilities: true },
    });

    const generation = model.generate(PROMPT, options);
    const drafts: number[][] = [];
    for await (const { round, draftIds } of generation) if (round) drafts.push(draftIds);
    const result = await generation.result();
    expect(output).toMatchObject({ ids: result.ids, text: result.text, seed: result.seed });
    expect(output.prompt_ids).toEqual(result.promptIds);
    expect(output.tokens).toEqual(
      result.tokens.map(({ id, text, origin, logProb, topLogProbs }) => ({
        ...{ id, text, origin, logprob: expect.closeTo(logProb!, 4) },
        top_logprobs: topLogProbs!.map((top) => ({ id: top.id, text: top.text, logprob: expect.anything() })),
      })),
    );

    expect(rounds.map(({ round }) => round)).toEqual(result.rounds.map((_, i) => i));
    expect(rounds.map(({ drafted_ids }) => drafted_ids)).toEqual(drafts);
    expect(rounds.map(({ drafted_ids, accepted }) => ({ drafted: drafted_ids.length, accepted }))).toEqual(
      output.rounds,
    );
    expect(output.stats.accepted).toBeGreaterThan(0);
    // The prompt's own token is in no round.
    const path = rounds.flatMap((round) => round.path);
    expect(path).toEqual(
      output.tokens.slice(1).map(({ id, origin }: { id: number; origin: string }) => ({ id, origin })),
    );
    let before = 0;
    for (const [i, round] of rounds.entries()) {
      const { exitLayer, draftLength } = result.rounds[i]!;
      const drafter = "layerskip";
      expect(round.plan).toEqual({ drafter, exit_layer: exitLayer, draft_length: draftLength, tree_size: 0 });
      expect(round.draft_probabilities ?? []).toHaveLength(round.drafted_ids.length);
      expect(round.start_ms).toBeGreaterThanOrEqual(before);
      expect(round.end_ms).toBeGreaterThan(round.start_ms);
      before = round.end_ms;
    }
  });
});

test("what is drawn without a seed can be drawn again, and the governor is the default", async () => {
  const trace = join(folder, "auto.jsonl");
  const run = await layerleap(["generate", PROMPT, "--top-p", "0.95", "--max-tokens", "40", "--trace", trace]);
  const [, drafted, of, seed] = /\| governor: (\d+) of (\d+) rounds drafted.* \| seed (\d+) \|/.exec(run.stderr)!;
  const { head, rounds } = await linesOf(trace);
  expect(head).toMatchObject({ seed: Number(seed), options: { top_p: 0.95, max_tokens: 40 } });
  expect(head.options).not.toHaveProperty("drafter");

  expect(rounds).toHaveLength(Number(of));
  for (const { reason, plan, prices } of rounds) {
    expect(["best", "plain", "probe"]).toContain(reason);
    expect(prices).toContainEqual({ ...plan, milliseconds: expect.any(Number), tokens: expect.any(Number) });
    expect(Object.keys(prices[0])).toEqual([...Object.keys(plan), "milliseconds", "tokens"]);
  }
  const drafting = rounds.filter(({ drafted_ids }) => drafted_ids.length > 0);
  expect(drafting).toHaveLength(Number(drafted));
  const [, exitLayer, draftLength] = /mostly E=(\d+) d=(\d+)/.exec(run.stderr) ?? [];
  if (drafting.length > 0) {
    // Trees are plans of their own: of the most used plans one is that which was told.
    const plans = drafting.map(({ plan }) => JSON.stringify(plan));
    const times = (plan: string) => plans.filter((other) => other === plan).length;
    const most = Math.max(...plans.map(times));
    const mostly = drafting.filter((_, i) => times(plans[i]!) === most);
    if (exitLayer !== undefined) {
      const told = mostly.map(({ plan }) => [plan.exit_layer, plan.draft_length]);
      expect(told).toContainEqual([Number(exitLayer), Number(draftLength)]);
    }
  }

  const again = model.generate(PROMPT, { topP: 0.95, maxTokens: 40, seed: Number(seed) });
  let text = "";
  for await (const part of again) text += part.text;
  expect(run.stdout).toBe(`${text}\n`);
});

test("the first of several --stop texts ends it", async () => {
  const { text } = await model.generate(PROMPT, { maxTokens: 60 }).result();
  const args = ["generate", PROMPT, "--max-tokens", "60", "--json"];
  const stops = [text.slice(30, 34), text.slice(20, 26), "no such text"].flatMap((stop) => ["--stop", stop]);
  const output = JSON.parse((await layerleap([...args, ...stops])).stdout);
  expect(output).toMatchObject({ finish_reason: "stop", text: text.slice(0, 20) });
  expect(output, "nothing was drawn").not.toHaveProperty("seed");
  expect(output, "nobody asked").not.toHaveProperty("tokens");
});

test("--time-limit ends it after the round under way", async () => {
  const run = await layerleap(["generate", PROMPT, "--time-limit", "0"]);
  expect(run.code).toBe(0);
  expect(run.stderr).toMatch(/^stopped at the time limit \| 1 tokens/);
});

test.each<[GenerateOptions, RegExp]>([
  [{ temperature: 1e-4 }, /--temperature: found 0.0001, expected/],
  [{ topP: 0 }, /--top-p: found 0, expected/],
  [{ minP: 2 }, /--min-p: found 2, expected/],
  [{ typicalP: 1.5 }, /--typical-p: found 1.5, expected/],
  [{ repetitionPenalty: 0 }, /--repetition-penalty: found 0, expected/],
  [{ frequencyPenalty: 101 }, /--frequency-penalty: found 101, expected/],
  [{ presencePenalty: -101 }, /--presence-penalty: found -101, expected/],
  [{ logitBias: { 512: 1 } }, /--logit-bias, id: found 512, expected .* 511/],
  [{ logitBias: { 5: 1e9 } }, /--logit-bias of id 5: found 1000000000, expected/],
  [{ stop: ["a", ""] }, /--stop: found an empty text, expected/],
  [{ topLogprobs: 21 }, /--top-logprobs: found 21, expected .* 20/],
])("%j is refused by the flag's name", (options, line) => {
  const stderr = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  try {
    model.generate(PROMPT, options);
    expect.unreachable();
  } catch (error) {
    expect(report(error, "")).toBe(2);
    expect(stderr.mock.calls.join("")).toMatch(RegExp(`^layerleap: ${line.source}.*\n$`));
  } finally {
    stderr.mockRestore();
  }
});

describe("drafters of trees", () => {
  test("what recycling has learned is read and written; the trace has the trees", async () => {
    const [memory, trace] = [join(folder, "memory.bin"), join(folder, "trees.jsonl")];
    const args = ["generate", PROMPT, "--max-tokens", "60", "--drafter", "recycle", "--tree-size", "7", "--json"];
    const plain = await model.generate(PROMPT, { drafter: "none", maxTokens: 60 }).result();
    const run = async () => {
      const { stdout, code } = await layerleap([...args, "--draft-memory", memory, "--trace", trace]);
      expect(code).toBe(0);
      return JSON.parse(stdout);
    };
    const [first, second] = [await run(), await run()];
    expect(first.ids).toEqual(plain.ids);
    expect(second.ids).toEqual(plain.ids);
    expect(second.rounds.length).toBeLessThan(first.rounds.length);

    const { head, rounds } = await linesOf(trace);
    expect(head.options).toMatchObject({ drafter: "recycle", tree_size: 7 });
    const tree = rounds.find(({ draft_parents }) => draft_parents);
    expect(tree.plan).toEqual({ drafter: "recycle", exit_layer: 0, draft_length: 0, tree_size: 7 });
    expect(tree.draft_parents).toHaveLength(tree.drafted_ids.length);
    expect(tree).not.toHaveProperty("draft_probabilities");

    await writeFile(memory, "no memory");
    const refused = await layerleap([...args, "--draft-memory", memory]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/^layerleap: --draft-memory .*first 4 bytes: found .*\n$/);
  });

  test.runIf(SLOW)("a second model drafts", async () => {
    const args = ["generate", PROMPT, "--max-tokens", "21", "--draft-length", "4", "--json"];
    const { stdout, code } = await layerleap([...args, "--drafter", `model:${MODEL}`]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout).rounds).toEqual(Array(4).fill({ drafted: 4, accepted: 4 }));
    const { stderr } = await layerleap([...args, "--drafter", "model:nowhere"]);
    expect(stderr).toMatch(/there is no folder .*nowhere/);
  });
});
