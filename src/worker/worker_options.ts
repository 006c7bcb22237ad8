/** Options of generations in a worker. */

import { InputError } from "../errors.ts";
import type { DrafterName, GenerateOptions } from "../types.ts";
import type { WorkerDraftModel } from "./worker_model.ts";

/**
 * Options of `generate`, where a worker holds the model. A drafter of your own is the URL of a module that exports it: its default export, or
 * the one that is named behind `#`; an object, a class, or a function that gives one.
 */
export interface WorkerGenerateOptions extends Omit<GenerateOptions, "drafter"> {
  drafter?: DrafterName | WorkerDraftModel | URL;
}

/** Options as they cross. */
export type SentOptions = Omit<GenerateOptions, "drafter"> & { drafter?: unknown };

export function sentOptions({ drafter, ...options }: WorkerGenerateOptions): SentOptions {
  if (drafter === undefined) return options;
  if (typeof drafter === "object" && "propose" in drafter) {
    const [found, expected] = ["an object that drafts", "the URL of a module that exports it: a worker runs it"];
    throw new InputError({ file: "generate", field: "drafter", found, expected });
  }
  return { ...options, drafter: drafter instanceof URL ? { module: drafter.href } : drafter };
}
