/**
 * The model that comes with the page, as a folder that knows which files it has: at a URL the library has to ask for each
 * that a model may have, and browsers write in their console of what is not there.
 */

import { type Folder, type Source, SourceError } from "../src/index.ts";

const PLACE = new URL("models/stories260k-layerskip/", document.baseURI);
const FILES: readonly string[] = [
  "config.json",
  "generation_config.json",
  "model.safetensors",
  "tokenizer.json",
  "tokenizer_config.json",
];

export const STORIES_FOLDER: Folder = {
  name: PLACE.href,
  list: async () => FILES,
  open: async (path, signal) => (FILES.includes(path) ? openFile(new URL(path, PLACE), signal) : undefined),
};

/** The whole file: it is small. */
async function openFile(url: URL, signal?: AbortSignal): Promise<Source> {
  const bytes = await fetchBytes(url, signal);
  return {
    name: url.href,
    size: bytes.length,
    read: async (offset, length) => bytes.slice(offset, offset + length),
    close: async () => {},
  };
}

async function fetchBytes(url: URL, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  try {
    const response = await fetch(url, { signal });
    if (response.ok) return new Uint8Array(await response.arrayBuffer());
    throw new SourceError(url.href, `the server answered ${response.status}`, { status: response.status });
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof SourceError) throw cause;
    throw new SourceError(url.href, cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
