/** `layerleap bench several`: texts at a time against one after the other, in the shape docs/benchmarks.md keeps. */

import { benchSeveral, type SeveralRow, type SeveralWay } from "../../bench/several.ts";
import type { Model } from "../index.ts";
import { type LoadFlags, loadModel } from "./load.ts";
import { EXIT, note, write } from "./output.ts";
import { UsageError } from "./report.ts";

export interface BenchSeveralFlags extends LoadFlags {
  texts: number[];
  exitLayer?: number;
  draftLength?: number;
  maxTokens: number;
  repetitions: number;
  json?: boolean;
}

/** Texts that the library works on at a time. */
const MOST_TEXTS = 8;
/** Tokens that a prompt takes at most, and rows of a round that are refused. */
const PROMPT_ROOM = 128;

/** Runs the comparison and prints a table. @returns the exit code */
export async function benchSeveralCommand(flags: BenchSeveralFlags): Promise<number> {
  const { texts, maxTokens, repetitions } = flags;
  for (const count of texts) {
    if (count >= 2 && count <= MOST_TEXTS) continue;
    throw new UsageError(`--texts: found ${count}, expected numbers from 2 to ${MOST_TEXTS}`);
  }
  const contextLength = maxTokens + PROMPT_ROOM;
  const model = await loadModel({ ...flags, contextLength, kvBudget: Math.max(...texts) * (contextLength + 64) });
  try {
    const ways = waysOf(model, flags);
    if (!flags.json) await write(`${head(model)}\n`);
    const rows = await benchSeveral(model, { texts, ways, maxTokens, repetitions }, async (row) => {
      if (!flags.json) await write(`${line(row)}\n`);
    });
    if (flags.json)
      await write(`${JSON.stringify({ device: model.device, dtype: model.dtype, rows }, undefined, 2)}\n`);
    if (rows.every(({ idsEqual }) => idsEqual)) return EXIT.success;
    note("layerleap: a text was another one beside others: this is a bug, please report it with the device above");
    return EXIT.failure;
  } finally {
    await model.dispose();
  }
}

function waysOf({ defaults, spec }: Model, flags: BenchSeveralFlags): SeveralWay[] {
  const { exitLayer = defaults.exitLayer, draftLength = defaults.draftLength } = flags;
  const plain: SeveralWay = { name: "plain", drafting: { drafter: "none" } };
  if (spec.layers < 2) return [plain];
  const drafting = { drafter: "layerskip" as const, exitLayer, draftLength };
  return [plain, { name: `layerskip E=${exitLayer} d=${draftLength}`, drafting }];
}

function head({ name, device, dtype }: Model): string {
  const { vendor, architecture, description, backend } = device;
  const where = description || [vendor, architecture].filter(Boolean).join(" ") || "an unnamed adapter";
  return `${name} in ${dtype} on ${where} (${backend})

| rounds | texts | tokens | rounds of all | submissions | at once against one by one | ms a token |
| --- | --: | --: | --: | --: | --: | --: |`;
}

function line({ way, texts, tokens, rounds, submits, speedup, speedupRange, msPerToken }: SeveralRow): string {
  const range = speedupRange.map((ratio) => ratio.toFixed(2)).join("-");
  const times = `${speedup.toFixed(2)}x (${range})`;
  return `| ${way} | ${texts} | ${tokens} | ${rounds} | ${submits} | ${times} | ${msPerToken.toFixed(1)} |`;
}
