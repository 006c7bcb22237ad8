/** `layerleap models`: what the cache holds, into it and out of it. */

import { type CachedModel, listCached, pull, removeCached } from "../index.ts";
import { interruptible } from "./interruption.ts";
import { modelSource, type SourceFlags, sourceOptions } from "./options.ts";
import { EXIT, faint, note, write } from "./output.ts";
import { ProgressBar } from "./progress_bar.ts";
import { FailureError } from "./report.ts";
import { bytes } from "./size.ts";

export interface ListFlags {
  json?: boolean;
}

/** Prints the models in the cache. @returns the exit code */
export async function list(flags: ListFlags): Promise<number> {
  const models = await listCached();
  if (flags.json) await write(`${JSON.stringify({ models })}\n`);
  else if (models.length === 0) note("layerleap: the cache is empty");
  else await write(table(models));
  return EXIT.success;
}

/** Downloads a model. Ctrl-C keeps what has come, for the next time. @returns the exit code */
export async function fetchModel(model: string, flags: SourceFlags): Promise<number> {
  return interruptible(async (signal) => {
    using bar = new ProgressBar();
    const { fetchedBytes, cachedBytes } = await pull(remote(model), {
      ...sourceOptions(flags),
      signal,
      onProgress: bar.show,
    });
    bar.end();
    const before = cachedBytes > 0 ? `, ${bytes(cachedBytes)} were in the cache` : "";
    note(faint(`${bytes(fetchedBytes)} fetched${before}`));
    return EXIT.success;
  });
}

/**
 * Removes a model.
 * @throws FailureError when the cache has none of that name
 * @returns the exit code
 */
export async function remove(model: string, { endpoint }: SourceFlags): Promise<number> {
  if (await removeCached(remote(model), { endpoint })) {
    note(`layerleap: ${model} is removed`);
    return EXIT.success;
  }
  throw new FailureError(`${model} is not in the cache: \`layerleap models list\` shows what is`);
}

/** @throws FailureError for what is no name or URL: files of this machine are read where they are */
function remote(model: string): string | URL {
  const source = /^(hf:|https?:\/\/)/i.test(model) ? modelSource(model) : undefined;
  if (source !== undefined) return source;
  throw new FailureError(`${model}: give a name on the hub, such as hf:owner/name, or a URL`);
}

function table(models: readonly CachedModel[]): string {
  const rows = models.map(({ source, files, bytes: size, complete }) => [
    ...[source, bytes(size), `${files} ${files === 1 ? "file" : "files"}`, complete ? "" : "incomplete"],
  ]);
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)) + 2);
  const total = models.reduce((sum, { bytes: size }) => sum + size, 0);
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(""));
  return `${[...lines, `${"total".padEnd(widths[0]!)}${bytes(total)}`].map((line) => line.trimEnd()).join("\n")}\n`;
}
