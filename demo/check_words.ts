/** What a check found, in words: what the model is, what it takes, and whether it runs here. */

import type { ModelCheck } from "../src/index.ts";
import { type DtypeChoice, dtypeName } from "./dtypes.ts";
import { bytes, compact, count } from "./format.ts";

/** `llama · 135M parameters · trained for LayerSkip`; empty where nothing is known. */
export function kind({ family, parameters, layerSkip }: ModelCheck): string {
  return [
    family,
    parameters === undefined ? "" : `${compact(parameters)} parameters`,
    layerSkip ? "trained for LayerSkip" : "",
  ]
    .filter(Boolean)
    .join(" · ");
}

/** Bytes that a load would still have to fetch. */
export function bytesToFetch({ download }: ModelCheck): number {
  return download ? download.totalBytes - download.cachedBytes : 0;
}

/** Empty for what is on this machine anyway. */
export function downloadWords(check: ModelCheck): string {
  const { download } = check;
  if (!download) return "";
  const missing = bytesToFetch(check);
  if (missing === 0) return `Nothing to download: its ${bytes(download.totalBytes)} are cached.`;
  if (download.cachedBytes === 0) return `${bytes(missing)} to download.`;
  return `${bytes(missing)} of ${bytes(download.totalBytes)} to download, the rest is cached.`;
}

/** Bytes of GPU memory in a data type; undefined where that is not known. */
export function neededBytes({ memory, recommendedDtype }: ModelCheck, dtype: DtypeChoice): number | undefined {
  const held = dtype === "auto" ? recommendedDtype : dtype;
  return held && memory?.neededBytes[held];
}

export function memoryWords(check: ModelCheck, dtype: DtypeChoice): string {
  const { memory, recommendedDtype, contextLength = 0 } = check;
  const needed = neededBytes(check, dtype);
  const available = memory?.availableBytes;
  if (needed === undefined) {
    return available === undefined ? "" : "This device does not hold its largest matrix in this type of weights.";
  }
  const held = dtype === "auto" && recommendedDtype ? dtypeName(recommendedDtype) : dtype;
  const choice = dtype === "auto" && recommendedDtype !== "stored" ? `${held}, which suits this device` : held;
  const takes = `Held ${held === "as stored" ? "" : "in "}${choice}, it takes ${bytes(needed)} of GPU memory with a context of ${count(contextLength)} tokens`;
  if (available === undefined) return `${takes}.`;
  if (needed > available) return `${takes}: more than the ${bytes(available)} that this device seems to have.`;
  return `${takes}; this device seems to have ${bytes(available)}.`;
}
