/** Downloading a model into the cache without loading it. */

import { InputError } from "../errors.ts";
import { openSource } from "../sources/open.ts";
import { PATIENT } from "../sources/retry.ts";
import type { ModelSource, SourceOptions } from "../types.ts";
import { openCheckpoint } from "../weights/checkpoint.ts";
import type { Folder } from "../weights/source.ts";

/** Small files beside the weights that a load may want. */
const BESIDE = /\.(json|jinja)$/;

/**
 * Fetches the files that a load of this model needs, unless they are in the cache, and checks them. A model that this version
 * cannot run is refused before its weights are fetched.
 *
 * @throws SourceError when it cannot be reached or read; CacheFullError when there is no room; IntegrityError when a file is
 * not the one that was published; FileFormatError | UnsupportedModelError when it cannot be loaded; InputError for a model that
 * is not downloaded at all; the signal's reason
 */
export async function pull(
  source: ModelSource,
  options: SourceOptions & { signal?: AbortSignal } = {},
  retry = PATIENT,
): Promise<void> {
  const { signal } = options;
  const folder = await openSource(source, options, retry);
  const { verified } = folder;
  if (!verified) {
    const expected = "a model on a server, and a cache to keep it in";
    throw new InputError({ file: "pull", field: "source", found: folder.name, expected });
  }
  const checkpoint = await openCheckpoint(folder, signal);
  try {
    await fetchBeside(folder, signal);
    await verified.call(folder, signal);
  } finally {
    await checkpoint.close();
  }
}

async function fetchBeside(folder: Folder, signal?: AbortSignal): Promise<void> {
  for (const name of (await folder.list?.(signal)) ?? []) {
    if (!BESIDE.test(name)) continue;
    const source = await folder.open(name, signal);
    await source?.close();
  }
}
