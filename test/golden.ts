/** golden.json beside the default model: what an independent implementation computed. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

const MODEL = join(import.meta.dirname, "../models/stories260k-layerskip");

export interface GoldenCase {
  name: string;
  text: string;
  prompt: number[];
  greedy: number[];
  text_out: string;
  finish_reason: string;
  /** Accepted drafts of the first rounds by exit layer and draft length. */
  rounds: Record<string, Record<string, number[]>>;
  logits_ids?: number[];
  logits_at?: number[];
  /** Rows by exit layer, `full` for the full model. */
  logits?: Record<string, number[][]>;
}

export function goldenCases(): GoldenCase[] {
  return (JSON.parse(readFileSync(join(MODEL, "golden.json"), "utf8")) as { cases: GoldenCase[] }).cases;
}

/** The case of this name. */
export function goldenCase(name: string): GoldenCase {
  const found = goldenCases().find((golden) => golden.name === name);
  if (!found) throw new Error(`golden.json has no case ${name}`);
  return found;
}
