/** What a person reads when a command fails: one line that says what to do, and the exit code for it. */

import { CommanderError } from "commander";
import { EXIT, note, OutputClosedError } from "./output.ts";

/** The command was called wrongly: exit code 2. */
export class UsageError extends Error {}

/** The command could not do its work: exit code 1. */
export class FailureError extends Error {}

/** How the library names an argument, and how it is called here. An element of a prompt is one of `--ids`. */
const OPTIONS: readonly (readonly [field: RegExp, option: string])[] = [
  [/^(ids|prompt)\[(\d+)\]$/, "--ids, element $2"],
  [/^number of ids$/, "--ids, their number"],
  [/^prompt$/, "PROMPT"],
  [/^messages$/, "--chat"],
  [/^at(\[\d+\])?$/, "--at"],
  [/^maxTokens$/, "--max-tokens"],
  [/^contextLength$/, "--context-length"],
  [/^exitLayer$/, "--exit-layer"],
  [/^draftLength$/, "--draft-length"],
  [/^hotVocabulary$/, "--hot-vocabulary"],
  [/^(drafter|controller|temperature|seed)$/, "--$1"],
  [/^acceptRule$/, "--accept-rule"],
  [/^topK$/, "--top-k"],
  [/^topP$/, "--top-p"],
  [/^minP$/, "--min-p"],
  [/^typicalP$/, "--typical-p"],
  [/^(repetition|frequency|presence)Penalty$/, "--$1-penalty"],
  [/^id of logitBias$/, "--logit-bias, id"],
  [/^logitBias\[(\d+)\]$/, "--logit-bias of id $1"],
  [/^stop(\[\d+\])?$/, "--stop"],
  [/^timeLimitMs$/, "--time-limit"],
  [/^topLogprobs$/, "--top-logprobs"],
  [/^kernels\.(\w+)$/, "--kernels, $1"],
  [/^endpoint$/, "--endpoint"],
];

/** Errors of the library that an option's value caused. */
const CAUSED_BY_A_VALUE = new Set(["invalid-input", "context-length"]);

/**
 * Prints `error` as one line on stderr. `LAYERLEAP_DEBUG=1` adds where it came from.
 * @param help the command line that explains the command
 * @returns the exit code
 */
export function report(error: unknown, help: string): number {
  if (error instanceof OutputClosedError) return EXIT.success;
  if (error instanceof CommanderError) return reportUsage(error, help);
  note(`layerleap: ${oneLine(message(error))}`);
  if (process.env.LAYERLEAP_DEBUG && error instanceof Error) note(trace(error));
  return error instanceof UsageError || CAUSED_BY_A_VALUE.has(codeOf(error)) ? EXIT.usage : EXIT.failure;
}

/** Commander throws for everything that ends a run early, help and version included. */
function reportUsage(error: CommanderError, help: string): number {
  if (error.exitCode === 0) return EXIT.success;
  // A call without a command: the help is on stderr already.
  if (error.code !== "commander.help")
    note(`layerleap: ${oneLine(error.message.replace(/^error: /, "")).replace(/\.$/, "")}: see ${help}`);
  return EXIT.usage;
}

function message(error: unknown): string {
  if (!(error instanceof Error)) return `internal error: ${String(error)}`;
  const code = codeOf(error);
  if (code === "invalid-input") return inOptions(error);
  // A missing package has its own remedy.
  if (code === "gpu-unavailable" && !error.cause) return `${error.message}${remedy()}`;
  if (code || error instanceof UsageError || error instanceof FailureError) return error.message;
  return `${error.message || error.name} (LAYERLEAP_DEBUG=1 shows where)`;
}

/** The library's finding, told of the option that was typed. */
function inOptions(error: Error): string {
  const { field, found, expected } = { field: "", found: "", expected: "", ...error };
  const known = OPTIONS.find(([pattern]) => pattern.test(field));
  return known ? `${field.replace(...known)}: found ${found}, expected ${expected}` : error.message;
}

/** What helps where a driver is installed that gives no adapter. Where SwiftShader already runs, nothing is left to try. */
function remedy(): string {
  if (process.platform !== "linux" || process.env.LAYERLEAP_LAUNCHED) return "";
  return " (or set LAYERLEAP_ADAPTER=software to compute on the CPU)";
}

/** The stable `code` of an error of the library (`device-lost`); empty for any other (Node's are like `ENOENT`). */
function codeOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return /^[a-z]+(-[a-z]+)*$/.test(code) ? code : "";
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, " ");
}

function trace(error: Error): string {
  const cause = error.cause instanceof Error ? `\ncaused by: ${trace(error.cause)}` : "";
  return `${error.stack ?? error.message}${cause}`;
}
