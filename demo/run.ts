/** One run: from the settings to the text on the page. */

import type { GenerationResult, Model } from "../src/index.ts";
import { DRAFTERS } from "./drafters.ts";
import type { RunView } from "./run_view.ts";
import type { Settings } from "./settings.ts";

/** Generates and shows each part as it comes. Throws what the generation throws; what came before stays on the page. */
export async function run(
  model: Model,
  settings: Settings,
  view: RunView,
  signal: AbortSignal,
): Promise<GenerationResult> {
  const { prompt, drafter, exitLayer, draftLength, treeSize, maxTokens, sampling } = settings;
  const { layers, tree } = DRAFTERS[drafter];
  const plan = { ...(layers === "exit" && { exitLayer }), ...(layers && { draftLength }), ...(tree && { treeSize }) };
  const generation = model.generate(prompt, { drafter, ...plan, maxTokens, ...sampling, signal });
  view.begin(model, settings);
  let result: GenerationResult | undefined;
  try {
    for await (const part of generation) view.append(part);
    result = await generation.result();
    return result;
  } finally {
    view.end(result);
  }
}
