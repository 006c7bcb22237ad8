/** `layerleap exits`: how often exits of a model say what the whole model does. */

import type { ExitAgreementResult, Model } from "../index.ts";
import { interruptible } from "./interruption.ts";
import { type LoadFlags, loadModel } from "./load.ts";
import { EXIT, faint, note, write } from "./output.ts";
import { readTextFile } from "./read_text.ts";
import { UsageError } from "./report.ts";
import { StatusLine } from "./status_line.ts";

export interface ExitsFlags extends LoadFlags {
  text?: string;
  ids?: number[];
  from?: number;
  exitLayers?: number[];
  maxTokens: number;
  json?: boolean;
}

/** Compares and prints. @returns the exit code */
export async function exits(flags: ExitsFlags): Promise<number> {
  return interruptible(async (signal) => {
    const { exitLayers, maxTokens, from } = flags;
    if (flags.ids && flags.text !== undefined) throw new UsageError("--ids and --text exclude each other");
    const text = flags.ids ?? (flags.text === undefined ? undefined : readTextFile(flags.text));
    await using model = await loadModel(flags, signal);
    const result = await compared(model, { text, exitLayers, maxTokens, from, signal });
    if (flags.json) await write(`${JSON.stringify(toJson(result))}\n`);
    else await write(table(result));
    const source = flags.text ?? (flags.ids ? "the ids" : "a text of its own");
    note(faint(`${result.positions} ${result.positions === 1 ? "position" : "positions"} of ${source}`));
    if (result.positions < FEW) note(`layerleap: so few positions tell nothing: give a text of ${FEW} tokens or more`);
    return EXIT.success;
  });
}

async function compared(
  model: Model,
  options: {
    text: string | number[] | undefined;
    exitLayers: number[] | undefined;
    maxTokens: number;
    from: number | undefined;
    signal: AbortSignal;
  },
): Promise<ExitAgreementResult> {
  using line = new StatusLine();
  return await model.exitAgreement({ ...options, onProgress: (done) => line.show(`${Math.round(100 * done)} %`) });
}

/** Fewer positions are a game of chance. */
const FEW = 32;

/** Characters of a bar of all positions. */
const BAR = 40;

function table({ exits, adapter }: ExitAgreementResult): string {
  const line = (name: string, agreement: number) =>
    `${name.padStart(14)}  ${agreement.toFixed(2)}  ${"=".repeat(Math.round(BAR * agreement))}`;
  const lines = exits.flatMap(({ exitLayer, agreement }) => [
    line(`exit ${exitLayer}`, agreement),
    ...(adapter?.exitLayer === exitLayer ? [line("with adapter", adapter.agreement)] : []),
  ]);
  const missing = adapter && !exits.some(({ exitLayer }) => exitLayer === adapter.exitLayer);
  if (missing) lines.push(line(`adapter at ${adapter.exitLayer}`, adapter.agreement));
  return `${lines.join("\n")}\n`;
}

function toJson({ positions, exits, adapter }: ExitAgreementResult): object {
  const json = ({ exitLayer, agreement }: { exitLayer: number; agreement: number }) => ({
    exit_layer: exitLayer,
    agreement,
  });
  return { positions, exits: exits.map(json), ...(adapter && { adapter: json(adapter) }) };
}
