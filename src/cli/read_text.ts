/** A text file that an option names. */

import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { FailureError } from "./report.ts";

/** @throws FailureError where it cannot be read */
export function readTextFile(path: string): string {
  if (!existsSync(path)) throw new FailureError(`--text ${path}: there is no file ${resolve(path)}: check the path`);
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new FailureError(`--text ${path}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
