/** The checkpoints of every family and quirk, in Hugging Face's layout. */

import { readdirSync } from "node:fs";

const FOLDER = new URL("assets/families/", import.meta.url).pathname;

export const FAMILIES = readdirSync(FOLDER);

export function familyFolder(family: string): string {
  return `${FOLDER}${family}`;
}
