/** `layerleap generate`: continues a prompt, as streamed text or as one JSON object. */

import { text } from "node:stream/consumers";
import type { DrafterName, GenerateOptions, GenerationResult, Model, Prompt } from "../index.ts";
import { Interruption } from "./interruption.ts";
import { type LoadFlags, loadJson, loadModel } from "./load.ts";
import { EXIT, faint, note, OutputClosedError, write } from "./output.ts";

export interface GenerateFlags extends LoadFlags {
  ids?: number[];
  chat?: boolean;
  system?: string;
  maxTokens: number;
  drafter?: DrafterName;
  exitLayer?: number;
  draftLength?: number;
  ignoreEos?: boolean;
  json?: boolean;
}

/**
 * Generates and prints. Ctrl-C stops between two rounds and keeps what there is.
 * @returns the exit code
 */
export async function generate(prompt: string | undefined, flags: GenerateFlags): Promise<number> {
  const input = flags.ids ?? asked(prompt === "-" ? await readStdin() : (prompt ?? ""), flags);
  using interruption = new Interruption();
  let model: Model | undefined;
  try {
    model = await loadModel(flags, interruption.signal);
    for (const warning of model.warnings) note(`layerleap: ${warning}`);
    const generation = model.generate(input, generateOptions(flags, interruption.signal));
    if (!flags.json) await stream(generation);
    const result = await generation.result();
    if (flags.json) await write(`${JSON.stringify(toJson(result, model))}\n`);
    else note(faint(summary(result, model)));
    return interruption.exitCode ?? EXIT.success;
  } catch (error) {
    // Interrupted before there was anything to show.
    if (interruption.exitCode !== undefined) return interruption.exitCode;
    throw error;
  } finally {
    await model?.dispose();
  }
}

function generateOptions(flags: GenerateFlags, signal: AbortSignal): GenerateOptions {
  const { maxTokens, drafter, exitLayer, draftLength, ignoreEos } = flags;
  return { maxTokens, drafter, exitLayer, draftLength, ignoreEos, signal };
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

/** Prints each part as it comes, and a line end. */
async function stream(generation: AsyncIterable<{ text: string }>): Promise<void> {
  let started = false;
  try {
    for await (const part of generation) {
      await write(part.text);
      started = true;
    }
  } catch (error) {
    // What was written stays a line of its own, above the line that tells of the error.
    if (started && !(error instanceof OutputClosedError)) await write("\n");
    throw error;
  }
  await write("\n");
}

/** One line for people: how much, how fast, how well the drafts did, in what, on what. */
function summary({ finishReason, rounds, stats }: GenerationResult, { device, dtype }: Model): string {
  const seconds = ((stats.prefillMs + stats.decodeMs) / 1000).toFixed(2);
  const drafts =
    stats.drafted > 0
      ? `${Math.round(stats.acceptanceRate * 100)} % of ${stats.drafted} drafts accepted in ${rounds.length} rounds`
      : `no drafts, ${rounds.length} rounds`;
  const where = device.description || device.architecture || device.vendor || device.backend;
  return [
    finishReason === "abort" ? "stopped" : undefined,
    `${stats.tokens} tokens in ${seconds} s${stats.prefillMs >= 1000 ? `, ${(stats.prefillMs / 1000).toFixed(2)} s for the prompt` : ""}`,
    `${stats.tokensPerSecond.toFixed(1)} tok/s`,
    drafts,
    dtype,
    device.software ? `${where} (a software adapter: its speed means little)` : where,
  ]
    .filter(Boolean)
    .join(" | ");
}

/** The JSON object of `--json`. */
function toJson(result: GenerationResult, { device, dtype, kernels, warnings, loadStats }: Model): object {
  const { stats } = result;
  return {
    prompt_ids: result.promptIds,
    ids: result.ids,
    text: result.text,
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
      load: loadJson(loadStats),
    },
    device: {
      vendor: device.vendor,
      architecture: device.architecture,
      backend: device.backend,
      features: device.features,
      description: device.description,
      software: device.software,
    },
    dtype,
    kernels,
    warnings,
  };
}
