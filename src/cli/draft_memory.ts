/** The file of `--draft-memory`: what drafting has learned, from run to run. */

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import type { Model } from "../index.ts";
import { FailureError } from "./report.ts";

/** Reads it, where there is one. */
export async function readDraftMemory(model: Model, path: string): Promise<void> {
  if (!existsSync(path)) return;
  await reported(path, async () => await model.loadDraftMemory(readFileSync(path)));
}

/** Writes it whole, or leaves the one that there is. */
export async function writeDraftMemory(model: Model, path: string): Promise<void> {
  const bytes = await model.saveDraftMemory();
  await reported(path, () => {
    writeFileSync(`${path}.part`, bytes);
    renameSync(`${path}.part`, path);
  });
}

async function reported(path: string, action: () => void | Promise<void>): Promise<void> {
  try {
    await action();
  } catch (cause) {
    throw new FailureError(`--draft-memory ${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
