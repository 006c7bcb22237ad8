/** `layerleap score`: the logits at positions of a token sequence. */

import { type Model, NonFiniteLogitsError, type ScoreResult } from "../index.ts";
import { interruptible } from "./interruption.ts";
import { type LoadFlags, loadModel } from "./load.ts";
import { EXIT, write } from "./output.ts";

export interface ScoreFlags extends LoadFlags {
  ids: number[];
  at?: number[];
  exitLayer?: number;
  json?: boolean;
}

/** Tokens listed for each position. */
const LISTED = 5;

/** Scores and prints. @returns the exit code */
export async function score(flags: ScoreFlags): Promise<number> {
  return interruptible(async (signal) => {
    const { at, exitLayer } = flags;
    await using model = await loadModel(flags, signal);
    const result = await model.score(flags.ids, { at, exitLayer, signal });
    // JSON has no NaN and no infinity: they would come out as null.
    if (!result.logits.every((row) => row.every(Number.isFinite))) throw new NonFiniteLogitsError();
    await (flags.json ? writeJson(result) : writeTable(result, model));
    return EXIT.success;
  });
}

/** Row by row: a large vocabulary at many positions makes more text than a JavaScript string can hold. */
async function writeJson({ ids, at, logits }: ScoreResult): Promise<void> {
  await write(`{"ids":${JSON.stringify(ids)},"at":${JSON.stringify(at)},"logits":[`);
  for (const [index, row] of logits.entries()) await write(`${index ? "," : ""}${JSON.stringify(Array.from(row))}`);
  await write("]}\n");
}

async function writeTable({ ids, at, logits }: ScoreResult, model: Model): Promise<void> {
  const quoted = (id: number) => JSON.stringify(model.decode([id]));
  for (const [index, position] of at.entries()) {
    const id = ids[position]!;
    await write(`position ${position}, after id ${id} ${quoted(id)}\n`);
    for (const { token, logit } of likeliest(logits[index]!)) {
      await write(`  ${logit.toFixed(4).padStart(10)}  ${String(token).padStart(7)}  ${quoted(token)}\n`);
    }
  }
}

/** The tokens with the largest logits, the lowest id first among equals. */
function likeliest(row: Float32Array): { token: number; logit: number }[] {
  return Array.from(row, (logit, token) => ({ token, logit }))
    .sort((a, b) => b.logit - a.logit || a.token - b.token)
    .slice(0, LISTED);
}
