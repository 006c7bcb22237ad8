/** `layerleap bench decode`: what drafting gains and costs on this device, in the shape docs/benchmarks.md keeps. */

import { benchDecode, type DecodeRow, type DecodeWay } from "../../bench/decode.ts";
import type { ControllerName, Model } from "../index.ts";
import { type LoadFlags, loadModel } from "./load.ts";
import { CONTROLLERS } from "./options.ts";
import { EXIT, faint, note, write } from "./output.ts";
import { UsageError } from "./report.ts";

export interface BenchDecodeFlags extends LoadFlags {
  prompt: string;
  maxTokens: number;
  repetitions: number;
  exitLayers?: number[];
  draftLengths?: number[];
  controllers?: ControllerName[];
  hotVocabularies?: number[];
  temperature?: number;
  json?: boolean;
}

/** As `GenerateOptions.draftLength` says. */
const MAX_DRAFT_LENGTH = 31;

/** Draft lengths compared when none are given. */
const DRAFT_LENGTHS = [2, 4, 8];

/** Runs the comparison and prints a Markdown table. @returns the exit code */
export async function bench(flags: BenchDecodeFlags): Promise<number> {
  const { prompt, maxTokens, repetitions } = flags;
  if (maxTokens < 2)
    throw new UsageError("--max-tokens: found 1, expected at least 2: the first token is the prefill's");
  const model = await loadModel(flags);
  try {
    const ways = [...plansOf(flags, model), ...controllersOf(flags), ...hotOf(flags, model)];
    const { temperature } = flags;
    const sampling = temperature === undefined ? {} : { temperature, seed: 1 };
    const rows = await benchDecode(model, { prompt, maxTokens, repetitions, ways, sampling }, (done) =>
      note(faint(`repetition ${done} of ${repetitions}`)),
    );
    await write(
      flags.json
        ? `${JSON.stringify({ device: model.device, dtype: model.dtype, rows }, undefined, 2)}\n`
        : report(model, rows),
    );
    if (rows.every((row) => row.idsEqual)) return EXIT.success;
    note("layerleap: a drafter changed the ids: this is a bug, please report it with the device above");
    return EXIT.failure;
  } finally {
    await model.dispose();
  }
}

function plansOf({ exitLayers, draftLengths = DRAFT_LENGTHS }: BenchDecodeFlags, model: Model): DecodeWay[] {
  const { layers } = model.spec;
  for (const draftLength of draftLengths) {
    if (draftLength < 1 || draftLength > MAX_DRAFT_LENGTH) {
      throw new UsageError(`--draft-lengths: found ${draftLength}, expected lengths from 1 to ${MAX_DRAFT_LENGTH}`);
    }
  }
  const exits = exitLayers ?? Array.from({ length: layers - 1 }, (_, i) => i + 1);
  for (const exitLayer of exits) {
    if (exitLayer < 1 || exitLayer >= layers) {
      throw new UsageError(`--exit-layers: found ${exitLayer}, expected layers from 1 to ${layers - 1}`);
    }
  }
  return exits.flatMap((exitLayer) =>
    draftLengths.map((draftLength) => ({
      name: `E=${exitLayer}, d=${draftLength}`,
      drafting: { drafter: "layerskip", exitLayer, draftLength } as const,
    })),
  );
}

/** Controllers compared when none are given: all that choose. */
const CHOOSING = CONTROLLERS.filter((name) => name !== "fixed");

function controllersOf({ controllers = CHOOSING }: BenchDecodeFlags): DecodeWay[] {
  return controllers.map((controller) => ({ name: controller, drafting: { controller } }));
}

/** Drafts over hot ids, by the first exit layer and draft length that are compared, or the model's default plan. */
function hotOf({ hotVocabularies = [], exitLayers, draftLengths }: BenchDecodeFlags, { defaults }: Model): DecodeWay[] {
  const [exitLayer = defaults.exitLayer] = exitLayers ?? [];
  const [draftLength = defaults.draftLength] = draftLengths ?? [];
  return [undefined, ...hotVocabularies].slice(0, hotVocabularies.length > 0 ? undefined : 0).map((hotVocabulary) => ({
    name: `E=${exitLayer}, d=${draftLength}, ${hotVocabulary ?? "all"} ids`,
    drafting: { drafter: "layerskip", exitLayer, draftLength, ...(hotVocabulary && { hotVocabulary }) } as const,
  }));
}

function report({ name, device, spec, dtype }: Model, rows: readonly DecodeRow[]): string {
  const { vendor, architecture, description, backend, software } = device;
  const table = [
    [
      "way",
      "tokens/round",
      "accepted",
      "ms/token",
      "speed-up",
      "(range)",
      "by bytes",
      "dispatches/token",
      "weight MB/token",
    ],
    ["---", "---:", "---:", "---:", "---:", "---", "---:", "---:", "---:"],
    ...rows.map((row) => [
      row.name,
      row.tokensPerRound.toFixed(2),
      row.isPlain ? "" : `${(100 * row.acceptanceRate).toFixed(0)} %`,
      row.msPerToken.toFixed(2),
      row.speedup.toFixed(2),
      row.isPlain ? "" : row.speedupRange.map((ratio) => ratio.toFixed(2)).join("-"),
      row.speedupByBytes.toFixed(2),
      row.dispatchesPerToken.toFixed(1),
      (row.weightBytesPerToken / 1e6).toFixed(2),
    ]),
  ];
  const [plain] = rows;
  return [
    `Model: ${name.split("/").filter(Boolean).at(-1)}, ${spec.layers} layers, ${dtype}; ${plain!.tokens} tokens a run`,
    `Device: ${vendor} ${architecture} (${description}), ${backend}${software ? ", a software adapter" : ""}`,
    "",
    ...table.map((cells) => `| ${cells.join(" | ")} |`),
    "",
  ].join("\n");
}
