/** A file that an option names, written whole or not at all. */

import { renameSync, writeFileSync } from "node:fs";
import { FailureError } from "./report.ts";

/** @throws FailureError where it cannot be written; what was there is there still then */
export function writeWhole(option: string, path: string, contents: Uint8Array): void {
  try {
    writeFileSync(`${path}.part`, contents);
    renameSync(`${path}.part`, path);
  } catch (cause) {
    throw new FailureError(`${option} ${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
