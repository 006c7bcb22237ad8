/** `layerleap bench drafters`: what each drafter gives on five kinds of text, in the shape docs/benchmarks.md keeps. */

import { readFileSync } from "node:fs";
import { benchDrafters, type DrafterRow, type DrafterWay } from "../../bench/drafters.ts";
import { type BenchPrompt, benchPrompts } from "../../bench/prompts.ts";
import type { DraftModel, Model } from "../index.ts";
import { type LoadFlags, loadDraftModel, loadModel } from "./load.ts";
import { EXIT, faint, note, write } from "./output.ts";
import { FailureError, UsageError } from "./report.ts";

export interface BenchDraftersFlags extends LoadFlags {
  draftModel?: string;
  exitLayer?: number;
  draftLength?: number;
  treeSizes?: number[];
  drafters?: string[];
  prompts?: string;
  maxTokens: number;
  repetitions: number;
  json?: boolean;
}

/** Rows of trees compared when none are given: a pass over the weights of 8 rows, and of 16. */
const TREE_SIZES = [7, 15];

const DRAFTERS = ["lookup", "recycle", "layerskip", "adapter", "ouroboros", "auto"];

/** Runs the comparison and prints a table a prompt. @returns the exit code */
export async function benchDraftersCommand(flags: BenchDraftersFlags): Promise<number> {
  const { maxTokens, repetitions } = flags;
  if (maxTokens < 2)
    throw new UsageError("--max-tokens: found 1, expected at least 2: the first token is the prefill's");
  for (const drafter of flags.drafters ?? []) {
    if (DRAFTERS.includes(drafter)) continue;
    throw new UsageError(`--drafters: found "${drafter}", expected some of ${DRAFTERS.join(",")}`);
  }
  const model = await loadModel(flags);
  try {
    const { draftModel: source } = flags;
    const draftModel = source === undefined ? undefined : await loadDraftModel(model, source, flags);
    const ways = waysOf(model, draftModel, flags);
    const prompts = flags.prompts === undefined ? benchPrompts(model.chats) : readPrompts(flags.prompts);
    if (!flags.json) await write(`${head(model, draftModel)}\n`);
    const rows = await benchDrafters(model, { prompts, maxTokens, repetitions, ways, draftModel }, async (done) => {
      note(faint(`${done[0]!.prompt}: done`));
      if (!flags.json) await write(`${table(done)}\n`);
    });
    if (flags.json) {
      await write(`${JSON.stringify({ device: model.device, dtype: model.dtype, rows }, undefined, 2)}\n`);
    } else {
      await write(`${summary(rows)}\n`);
    }
    if (rows.every((row) => row.idsEqual)) return EXIT.success;
    note("layerleap: a drafter changed the ids: this is a bug, please report it with the device above");
    return EXIT.failure;
  } finally {
    await model.dispose();
  }
}

/** @throws FailureError where the file cannot be read or is of another form */
function readPrompts(path: string): BenchPrompt[] {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new FailureError(`--prompts ${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
  const cases = typeof json === "object" && json !== null && "cases" in json ? json.cases : undefined;
  if (Array.isArray(cases) && cases.length > 0 && cases.every(isPrompt)) return cases;
  throw new FailureError(`--prompts ${path}: expected { "cases": [{ "name": ..., "prompt": ... }, ...] }`);
}

/** What the prompt is, `generate` checks. */
function isPrompt(value: unknown): value is BenchPrompt {
  return typeof value === "object" && value !== null && "name" in value && "prompt" in value;
}

function waysOf(model: Model, draftModel: DraftModel | undefined, flags: BenchDraftersFlags): DrafterWay[] {
  const {
    exitLayer = model.defaults.exitLayer,
    draftLength = model.defaults.draftLength,
    treeSizes = TREE_SIZES,
  } = flags;
  const chain = { exitLayer, draftLength };
  const [smallest = 7] = treeSizes;
  const { drafters = DRAFTERS } = flags;
  const ways: DrafterWay[] = [
    ...treeSizes.map(
      (treeSize): DrafterWay => ({ name: `lookup ${treeSize}`, drafting: { drafter: "lookup", treeSize } }),
    ),
    ...treeSizes.map(
      (treeSize): DrafterWay => ({ name: `recycle ${treeSize}`, drafting: { drafter: "recycle", treeSize } }),
    ),
    { name: `layerskip E=${exitLayer} d=${draftLength}`, drafting: { drafter: "layerskip", ...chain } },
    { name: "the same + 3", drafting: { drafter: "layerskip", ...chain, treeSize: 3 } },
    ...(model.exitAdapter ? adapterWays(flags.draftLength) : []),
    { name: `ouroboros + ${smallest}`, drafting: { drafter: "ouroboros", ...chain, treeSize: smallest } },
    ...(draftModel ? [{ name: `model d=${draftLength}`, drafting: { drafter: draftModel, draftLength } }] : []),
    { name: "auto", drafting: { drafter: "auto" } },
  ];
  return ways.filter(({ drafting: { drafter } }) => typeof drafter !== "string" || drafters.includes(drafter));
}

/** Chains of the exit adapter, and one with second choices. @param draftLength the only one, where it is given */
function adapterWays(draftLength: number | undefined): DrafterWay[] {
  const lengths = draftLength === undefined ? [1, 2, 4] : [draftLength];
  return [
    ...lengths.map((length): DrafterWay => {
      return { name: `adapter d=${length}`, drafting: { drafter: "adapter", draftLength: length } };
    }),
    {
      name: `adapter d=${lengths.at(-1)} + 3`,
      drafting: { drafter: "adapter", draftLength: lengths.at(-1)!, treeSize: 3 },
    },
  ];
}

function head({ name, device, spec, dtype }: Model, draftModel: DraftModel | undefined): string {
  const { vendor, architecture, description, backend, software } = device;
  const last = (path: string) => path.split("/").filter(Boolean).at(-1);
  return [
    `Model: ${last(name)}, ${spec.layers} layers, ${dtype}${draftModel ? `; second model: ${last(draftModel.name)}` : ""}`,
    `Device: ${vendor} ${architecture} (${description}), ${backend}${software ? ", a software adapter" : ""}`,
  ].join("\n");
}

const COLUMNS = ["drafter", "tokens/round", "accepted", "of drafted", "ms/token", "speed-up", "predicted", "by bytes"];

function table(rows: readonly DrafterRow[]): string {
  const [first] = rows;
  return [
    "",
    `**${first!.prompt}**, ${first!.promptTokens} tokens, ${first!.tokens} new ones`,
    "",
    markdown([COLUMNS, ["---", ...COLUMNS.slice(1).map(() => "---:")], ...rows.map(cells)]),
  ].join("\n");
}

function cells(row: DrafterRow): string[] {
  return [
    row.way,
    row.tokensPerRound.toFixed(2),
    String(row.accepted),
    String(row.drafted),
    row.msPerToken.toFixed(row.msPerToken < 100 ? 1 : 0),
    row.speedup.toFixed(2),
    row.predicted?.toFixed(2) ?? "",
    row.speedupByBytes.toFixed(2),
  ];
}

/** Tokens a round and the speed-up by bytes of each drafter, on all prompts. */
function summary(rows: readonly DrafterRow[]): string {
  const prompts = [...new Set(rows.map(({ prompt }) => prompt))];
  const ways = [...new Set(rows.map(({ way }) => way))];
  const lines = ways.map((way) => {
    const own = rows.filter((row) => row.way === way);
    return [way, ...own.map((row) => `${row.tokensPerRound.toFixed(2)} (${row.speedupByBytes.toFixed(2)})`)];
  });
  const header = ["tokens/round (by bytes)", ...prompts];
  return ["", markdown([header, ["---", ...prompts.map(() => "---:")], ...lines]), ""].join("\n");
}

function markdown(lines: readonly (readonly string[])[]): string {
  return lines.map((line) => `| ${line.join(" | ")} |`).join("\n");
}
