/** A text file that an option names. */

import { readFileSync } from "node:fs";
import { FailureError } from "./report.ts";

/** @throws FailureError where it cannot be read */
export function readTextFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new FailureError(`--text ${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
