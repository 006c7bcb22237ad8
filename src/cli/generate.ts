/** `layerleap generate`: continues a prompt, as streamed text or as one JSON object. */

import { text } from "node:stream/consumers";
import type { Generation, GenerationResult, Model, Prompt, Round, Token } from "../index.ts";
import { deviceJson } from "./device_json.ts";
import { readDraftMemory, writeDraftMemory } from "./draft_memory.ts";
import { draftModelSource, type GenerateFlags, generateOptions } from "./generate_options.ts";
import { Interruption } from "./interruption.ts";
import { loadDraftModel, loadJson, loadModel } from "./load.ts";
import { EXIT, faint, note, OutputClosedError, write } from "./output.ts";
import { adapterJson, planJson, priceJson, Trace } from "./trace.ts";

/**
 * Generates and prints. Ctrl-C stops between two rounds and keeps what there is.
 * @returns the exit code
 */
export async function generate(prompt: string | undefined, flags: GenerateFlags): Promise<number> {
  using trace = flags.trace === undefined ? undefined : new Trace(flags.trace);
  const input = flags.ids ?? asked(prompt === "-" ? await readStdin() : (prompt ?? ""), flags);
  using interruption = new Interruption();
  let model: Model | undefined;
  try {
    model = await loadModel(flags, interruption.signal);
    for (const warning of model.warnings) note(`layerleap: ${warning}`);
    const source = draftModelSource(flags);
    const draftModel =
      source === undefined ? undefined : await loadDraftModel(model, source, flags, interruption.signal);
    if (flags.draftMemory !== undefined) await readDraftMemory(model, flags.draftMemory);
    const options = generateOptions(flags, draftModel);
    const generation = model.generate(input, { ...options, signal: interruption.signal });
    trace?.begin(model, generation, options);
    await run(generation, trace, !flags.json);
    const result = await generation.result();
    if (flags.json) await write(`${JSON.stringify(toJson(result, model, flags))}\n`);
    else note(faint(summary(result, model)));
    if (flags.draftMemory !== undefined) await writeDraftMemory(model, flags.draftMemory);
    return interruption.exitCode ?? EXIT.success;
  } catch (error) {
    // Interrupted before there was anything to show.
    if (interruption.exitCode !== undefined) return interruption.exitCode;
    throw error;
  } finally {
    await model?.dispose();
  }
}

/** The prompt as it is, or as what a user says to the model. */
function asked(prompt: string, { chat, system }: GenerateFlags): Prompt {
  if (!chat && system === undefined) return prompt;
  const user = { role: "user", content: prompt };
  return system === undefined ? [user] : [{ role: "system", content: system }, user];
}

async function readStdin(): Promise<string> {
  const prompt = await text(process.stdin);
  return prompt.replace(/\r?\n$/, "");
}

/** Runs a generation; prints each part as it comes, and a line end, where the text is shown. */
async function run(generation: Generation, trace: Trace | undefined, shown: boolean): Promise<void> {
  let started = false;
  try {
    for await (const part of generation) {
      trace?.add(part);
      if (shown) await write(part.text);
      started = shown;
    }
  } catch (error) {
    // What was written stays a line of its own, above the line that tells of the error.
    if (started && !(error instanceof OutputClosedError)) await write("\n");
    throw error;
  }
  if (shown) await write("\n");
}

/** One line for people: how much, how fast, how well the drafts did, in what, on what. */
function summary({ finishReason, rounds, seed, stats }: GenerationResult, { device, dtype }: Model): string {
  const seconds = ((stats.prefillMs + stats.decodeMs) / 1000).toFixed(2);
  const drafts =
    stats.drafted > 0
      ? `${Math.round(stats.acceptanceRate * 100)} % of ${stats.drafted} drafts accepted in ${rounds.length} ${rounds.length === 1 ? "round" : "rounds"}`
      : `no drafts, ${rounds.length} rounds`;
  const where = device.description || device.architecture || device.vendor || device.backend;
  return [
    finishReason === "abort" ? "stopped" : finishReason === "time" ? "stopped at the time limit" : undefined,
    `${stats.tokens} tokens in ${seconds} s${stats.prefillMs >= 1000 ? `, ${(stats.prefillMs / 1000).toFixed(2)} s for the prompt` : ""}`,
    `${stats.tokensPerSecond.toFixed(1)} tok/s`,
    drafts,
    governed(rounds),
    seed === undefined ? undefined : `seed ${seed}`,
    dtype,
    device.software ? `${where} (a software adapter: its speed means little)` : where,
  ]
    .filter(Boolean)
    .join(" | ");
}

/** What the governor did, where it has chosen: how many rounds drafted, and by which plan most of them. */
function governed(rounds: readonly Round[]): string | undefined {
  const chosen = rounds.filter((round) => round.decision);
  if (chosen.length === 0) return undefined;
  const drafted = chosen.filter((round) => round.drafted > 0);
  const counts = new Map<string, number>();
  for (const round of drafted) {
    const plan = planWords(round);
    counts.set(plan, (counts.get(plan) ?? 0) + 1);
  }
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  return `governor: ${drafted.length} of ${chosen.length} rounds drafted${most ? `, mostly ${most[0]}` : ""}`;
}

/** A plan in few letters, such as `E=2 d=4` or `lookup of 7`. */
function planWords({ drafter, exitLayer, draftLength, treeSize }: Round): string {
  const layers = `${drafter === "adapter" ? "adapter " : ""}E=${exitLayer} d=${draftLength}`;
  const chain = exitLayer > 0 ? layers : `${drafter} of ${draftLength + treeSize}`;
  return exitLayer > 0 && treeSize > 0 ? `${chain} and ${treeSize}` : chain;
}

/** The JSON object of `--json`. */
function toJson(result: GenerationResult, model: Model, { logprobs, topLogprobs }: GenerateFlags): object {
  const { device, dtype, exitAdapter, kernels, warnings, loadStats } = model;
  const { stats } = result;
  return {
    prompt_ids: result.promptIds,
    ids: result.ids,
    text: result.text,
    seed: result.seed,
    ...((logprobs || topLogprobs !== undefined) && { tokens: result.tokens.map(tokenJson) }),
    finish_reason: result.finishReason,
    rounds: result.rounds.map(({ drafted, accepted }) => ({ drafted, accepted })),
    stats: {
      tokens: stats.tokens,
      prefill_ms: stats.prefillMs,
      decode_ms: stats.decodeMs,
      tokens_per_second: stats.tokensPerSecond,
      drafted: stats.drafted,
      accepted: stats.accepted,
      acceptance_rate: stats.acceptanceRate,
      submits: stats.submits,
      readbacks: stats.readbacks,
      dispatches: stats.dispatches,
      pipelines: stats.pipelines,
      compile_ms: stats.compileMs,
      prefill_submits: stats.prefillSubmits,
      readback_bytes: stats.readbackBytes,
      plans: stats.plans.map(({ rounds, reasons, ...plan }) => ({
        ...planJson(plan),
        ...{ rounds, reasons },
      })),
      ...(stats.prices && { prices: stats.prices.map(priceJson) }),
      load: loadJson(loadStats),
    },
    device: deviceJson(device),
    dtype,
    ...(exitAdapter && { exit_adapter: adapterJson(exitAdapter) }),
    kernels,
    warnings,
  };
}

function tokenJson({ id, text, origin, logProb, topLogProbs }: Token): object {
  const top_logprobs = topLogProbs?.map((other) => ({ id: other.id, text: other.text, logprob: other.logProb }));
  return { id, text, origin, logprob: logProb, top_logprobs };
}
