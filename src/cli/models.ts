/** `layerleap models`: what the cache holds, into it and out of it. */

import { type CachedModel, type DownloadProgress, listCached, pull, removeCached } from "../index.ts";
import { Interruption } from "./interruption.ts";
import { modelSource, sourceOptions } from "./options.ts";
import { EXIT, faint, note, write } from "./output.ts";
import { FailureError } from "./report.ts";
import { bytes } from "./size.ts";

export interface ListFlags {
  json?: boolean;
}

export interface ModelFlags {
  endpoint?: string;
}

/** A line of progress is printed no more often. */
const PROGRESS_MS = 1000;

/** Prints the models in the cache. @returns the exit code */
export async function list(flags: ListFlags): Promise<number> {
  const models = await listCached();
  if (flags.json) await write(`${JSON.stringify({ models })}\n`);
  else if (models.length === 0) note("layerleap: the cache is empty");
  else await write(table(models));
  return EXIT.success;
}

/** Downloads a model. Ctrl-C keeps what has come, for the next time. @returns the exit code */
export async function fetchModel(model: string, { endpoint }: ModelFlags): Promise<number> {
  using interruption = new Interruption();
  const progress = new Progress();
  try {
    const { signal } = interruption;
    await pull(remote(model), { ...sourceOptions(), endpoint, signal, onDownload: (file) => progress.add(file) });
    progress.show();
    return EXIT.success;
  } catch (error) {
    if (interruption.exitCode !== undefined) return interruption.exitCode;
    throw error;
  }
}

/**
 * Removes a model.
 * @throws FailureError when the cache has none of that name
 * @returns the exit code
 */
export async function remove(model: string, { endpoint }: ModelFlags): Promise<number> {
  if (await removeCached(remote(model), { endpoint })) return EXIT.success;
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

/** What has come so far, on stderr. */
class Progress {
  readonly #files = new Map<string, DownloadProgress>();
  #shown = performance.now();

  add(file: DownloadProgress): void {
    this.#files.set(file.file, file);
    if (performance.now() - this.#shown > PROGRESS_MS) this.show();
  }

  show(): void {
    this.#shown = performance.now();
    const sum = (field: "size" | "fetched" | "cached") =>
      [...this.#files.values()].reduce((total, file) => total + file[field], 0);
    const [fetched, cached] = [sum("fetched"), sum("cached")];
    const from = cached > 0 ? `, ${bytes(cached)} from the cache` : "";
    note(faint(`${bytes(fetched)} fetched${from}, of ${bytes(sum("size"))} begun`));
  }
}
