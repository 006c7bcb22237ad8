/** Downloading a model into the cache without loading it. */

import { InputError } from "../errors.ts";
import { openSource } from "../sources/open.ts";
import type { ModelSource, PullOptions } from "../types.ts";
import { openCheckpoint } from "../weights/checkpoint.ts";
import { LoadMeter } from "./load_progress.ts";
import { requireKnown } from "./options.ts";
import { sourceOptions } from "./source_options.ts";

const PULL_OPTIONS: readonly (keyof PullOptions)[] = [
  "cache",
  "endpoint",
  "onDownload",
  "onProgress",
  "signal",
  "token",
];

/** The public `pull` (src/layerleap.ts). */
export async function pull(
  source: ModelSource,
  options: PullOptions = {},
): Promise<{ fetchedBytes: number; cachedBytes: number }> {
  requireKnown("pull", options, PULL_OPTIONS);
  const { signal, onDownload } = options;
  requireKept(options);
  const meter = new LoadMeter(options.onProgress);
  const folder = await openSource(source, {
    ...sourceOptions(options),
    onDownload: (progress) => {
      meter.download(progress);
      onDownload?.(progress);
    },
  });
  const { verified } = folder;
  if (!verified) {
    const expected = "a model on a server, and a cache to keep it in";
    throw new InputError({ file: "pull", field: "source", found: folder.name, expected });
  }
  const checkpoint = await openCheckpoint(folder, signal);
  try {
    await verified.call(folder, signal);
  } finally {
    await checkpoint.close();
  }
  const { fetchedBytes, cachedBytes } = meter.stats();
  return { fetchedBytes, cachedBytes };
}

/** What is not kept need not be pulled. */
function requireKept({ cache }: PullOptions): void {
  const expected = "a cache that keeps the model";
  if (cache === false) throw new InputError({ file: "pull", field: "cache", found: "false", expected });
  if (typeof cache !== "object" || cache.whenFull !== "uncached") return;
  throw new InputError({ file: "pull", field: "cache.whenFull", found: '"uncached"', expected });
}
