/** What the tests of the browser's cache call in the page: the library's own functions, with results that can leave a page. */

import { listCached, removeCached } from "../src/cache/cached_models.ts";
import { CHUNK_BYTES } from "../src/cache/chunks.ts";
import { LayerLeapError } from "../src/errors.ts";
import { openSource } from "../src/sources/open.ts";
import type { DownloadProgress, ModelSource, SourceOptions } from "../src/types.ts";
import type { Folder } from "../src/weights/source.ts";

export interface ReadResult {
  /** SHA-256 of all bytes of the file; undefined where there is no such file. */
  sha256?: string;
  /** How the last progress stood. */
  progress?: DownloadProgress;
  /** `code` and `message` of the error that it ended in; the name of one that is not the library's. */
  error?: { code: string; message: string };
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Reads one file from begin to end and awaits that it is verified. */
async function readFile(
  source: ModelSource,
  path: string,
  options: SourceOptions = {},
  { signal, opened }: { signal?: AbortSignal; opened?: (folder: Folder) => Promise<void> } = {},
): Promise<ReadResult> {
  const result: ReadResult = {};
  try {
    const onDownload = (progress: DownloadProgress) => {
      result.progress = progress;
    };
    const folder = await openSource(source, { ...options, onDownload, signal });
    const file = await folder.open(path, signal);
    if (!file) return result;
    try {
      await opened?.(folder);
      const bytes = await file.read(0, file.size, signal);
      await folder.verified?.(signal);
      result.sha256 = await digest(bytes);
    } finally {
      await file.close();
    }
  } catch (error) {
    const code = error instanceof LayerLeapError ? error.code : (error as Error).name;
    result.error = { code, message: (error as Error).message };
  }
  return result;
}

/** A promise that the test ends. */
function makeGate(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

/** What tests find at `globalThis.cacheTest`. */
const functions = {
  CHUNK_BYTES,
  readFile,
  openSource,
  listCached,
  removeCached,
  aborter: new AbortController(),
  /** Opened by the test, for what has to happen between opening and reading. */
  gate: makeGate(),
};

declare global {
  var cacheTest: typeof functions;
}

globalThis.cacheTest = functions;
