/** The file of `--draft-memory`: what drafting has learned, from run to run. */

import { existsSync, readFileSync } from "node:fs";
import type { Model } from "../index.ts";
import { FailureError } from "./report.ts";
import { writeWhole } from "./write_file.ts";

const OPTION = "--draft-memory";

/** Reads it, where there is one. */
export async function readDraftMemory(model: Model, path: string): Promise<void> {
  if (!existsSync(path)) return;
  try {
    await model.loadDraftMemory(readFileSync(path));
  } catch (cause) {
    throw new FailureError(`${OPTION} ${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}

/** Writes it whole, or leaves the one that there is. */
export async function writeDraftMemory(model: Model, path: string): Promise<void> {
  writeWhole(OPTION, path, await model.saveDraftMemory());
}
