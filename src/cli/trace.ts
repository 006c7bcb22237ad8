/**
 * The file of `--trace`: a line that describes the run, then one for each round, as it happens.
 *
 * A line is written whole and at once: whatever ends the run, the file holds every round that was read. The prompt's own
 * token is in no round.
 */

import { closeSync, openSync, writeSync } from "node:fs";
import type {
  ExitAdapterInfo,
  GenerateOptions,
  Generation,
  GenerationPart,
  Model,
  PlanPrice,
  RoundPlan,
} from "../index.ts";
import { deviceJson } from "./device_json.ts";
import { FailureError } from "./report.ts";

export class Trace implements Disposable {
  readonly #path: string;
  readonly #file: number;
  #rounds = 0;

  /** @throws FailureError when the file cannot be written */
  constructor(path: string) {
    this.#path = path;
    this.#file = this.#reported(() => openSync(path, "w"));
  }

  /** Describes the run. */
  begin(model: Model, { promptIds, seed }: Generation, options: GenerateOptions): void {
    const { name, device, dtype, kernels, exitAdapter } = model;
    this.#write({
      ...{ model: name, device: deviceJson(device), dtype, kernels },
      ...(exitAdapter && { exit_adapter: adapterJson(exitAdapter) }),
      options: optionsJson(options),
      prompt_ids: promptIds,
      seed,
    });
  }

  /** Tells of a round; the prompt's end is none. */
  add({ round, draftIds, draftParents, tokens }: GenerationPart): void {
    if (!round) return;
    const { decision, draftProbabilities, accepted, submittedMs, startMs, endMs } = round;
    this.#write({
      round: this.#rounds++,
      plan: planJson(round),
      reason: decision?.reason,
      prices: decision?.prices.map(priceJson),
      drafted_ids: draftIds,
      ...(draftParents.some((parent, i) => parent !== i - 1) && { draft_parents: draftParents }),
      draft_probabilities: draftProbabilities,
      accepted,
      path: tokens.map(({ id, origin }) => ({ id, origin })),
      submitted_ms: submittedMs,
      start_ms: startMs,
      end_ms: endMs,
    });
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }

  #write(line: object): void {
    this.#reported(() => {
      // One write may take a part of it.
      let rest = Buffer.from(`${JSON.stringify(line, finite)}\n`);
      while (rest.length > 0) rest = rest.subarray(writeSync(this.#file, rest));
    });
  }

  #reported<T>(action: () => T): T {
    try {
      return action();
    } catch (cause) {
      throw new FailureError(`--trace ${this.#path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
  }
}

/** A plan in snake case. */
export function planJson({ exitLayer, draftLength, treeSize = 0, ...plan }: RoundPlan): object {
  const { drafter = draftLength + treeSize === 0 ? "none" : "layerskip" } = plan;
  return { drafter, exit_layer: exitLayer, draft_length: draftLength, tree_size: treeSize };
}

/** A price in snake case. */
export function priceJson({ milliseconds, tokens, ...plan }: PlanPrice): object {
  return { ...planJson(plan), milliseconds, tokens };
}

/** Those that were given, by their names in snake case. */
function optionsJson(options: GenerateOptions): object {
  const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => [
      snakeCase(name),
      name === "drafter" ? drafterJson(options.drafter) : value instanceof Map ? Object.fromEntries(value) : value,
    ]),
  );
}

/** A drafter's name; of a second model where it was loaded from. */
function drafterJson(drafter: GenerateOptions["drafter"]): string | undefined {
  return typeof drafter === "object" ? `model:${drafter.name}` : drafter;
}

/** JSON has no infinite numbers: -Infinity bans an id. */
function finite(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

/** The exit adapter that is loaded. */
export function adapterJson({ kind, exitLayer, hotIds, baseModel, parameters }: ExitAdapterInfo): object {
  return { kind, exit_layer: exitLayer, hot_ids: hotIds, base_model: baseModel, parameters };
}
