/**
 * A folder below a URL, read with `fetch` and HTTP range requests (RFC 9110, section 14).
 *
 * The first request asks for a file's beginning and so learns its size; files no longer than that need no second one. A
 * server that knows no ranges, or compresses on the fly so that sizes lie, has its file fetched once and kept as a Blob, which the
 * browser may hold on disk.
 */

import { SourceError } from "../errors.ts";
import type { Folder, Source } from "./source.ts";

/** Bytes of the first request: all of a config, and the header of a small safetensors file. */
const HEAD_BYTES = 64 * 1024;

/**
 * The files below `base`.
 * @param base taken as a folder whether or not it ends in a slash; its query goes with every file
 */
export function httpFolder(base: URL): Folder {
  const folder = new URL(base);
  folder.hash = "";
  if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  return {
    name: folder.href,
    open(path, signal) {
      const url = new URL(path.split("/").map(encodeURIComponent).join("/"), folder);
      url.search = folder.search;
      return open(url.href, signal);
    },
  };
}

async function open(url: string, signal?: AbortSignal): Promise<Source | undefined> {
  const response = await request(url, [0, HEAD_BYTES], signal);
  const answer = rangeOf(response);
  // 416: an empty file has no range to give. 206 without a size: across origins Content-Range is seen only where the server
  // exposes it.
  const partial = response.status === 206 || response.status === 416;
  if (!partial || isPage(response)) return openWhole(url, response, signal);
  if (response.status === 416 || !answer?.size || response.headers.has("content-encoding")) {
    await response.body?.cancel();
    return openWhole(url, await request(url, undefined, signal), signal);
  }
  const head = await body(url, response, [0, Math.min(HEAD_BYTES, answer.size)], answer.size, signal);
  return rangeSource(url, answer.size, head, versionOf(response));
}

/** A file from an answer without ranges, or undefined where the answer is that there is none. */
async function openWhole(url: string, response: Response, signal?: AbortSignal): Promise<Source | undefined> {
  if (response.ok && !isPage(response)) return blobSource(url, await wholeBody(url, response, signal));
  await response.body?.cancel();
  if (response.ok || response.status === 404 || response.status === 410) return undefined;
  throw refusal(url, response);
}

function refusal(url: string, { status, statusText }: Response): SourceError {
  return new SourceError(url, `the server answered ${status} ${statusText}`.trim(), { status });
}

/** Servers of single-page apps answer 200 and their start page where there is no file; no file of a model is a page. */
function isPage(response: Response): boolean {
  return /^\s*text\/html\b/i.test(response.headers.get("content-type") ?? "");
}

/** Fetches bytes `[begin, end)`, or everything. */
async function request(url: string, range?: [number, number], signal?: AbortSignal): Promise<Response> {
  const headers: HeadersInit = range ? { Range: `bytes=${range[0]}-${range[1] - 1}` } : {};
  return guarded(url, signal, "could not be fetched", () => fetch(url, { headers, signal: signal ?? null }));
}

/** The signal's reason where that is why it failed, else a SourceError with the cause. */
async function guarded<T>(url: string, signal: AbortSignal | undefined, what: string, work: () => Promise<T>) {
  try {
    return await work();
  } catch (cause) {
    signal?.throwIfAborted();
    const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
    throw new SourceError(url, `${what} (${inner instanceof Error ? inner.message : inner})`, { cause });
  }
}

interface ContentRange {
  /** First byte and end (exclusive); undefined in the answer to a range that cannot be given. */
  range?: [number, number];
  /** Of the whole file; undefined where the server does not know it. */
  size?: number;
}

/** `Content-Range: bytes 0-99/1234`, `bytes 0-99/*` or `bytes * /1234`. */
function rangeOf(response: Response): ContentRange | undefined {
  const match = /^bytes (?:(\d+)-(\d+)|\*)\/(?:(\d+)|\*)$/.exec(response.headers.get("content-range") ?? "");
  if (!match) return undefined;
  const [, first, last, size] = match;
  const found: ContentRange = {};
  if (first && last) found.range = [Number(first), Number(last) + 1];
  if (size) found.size = Number(size);
  return found;
}

/** The body of a 206 answer: exactly the bytes of `range` of a file of `size` bytes. */
async function body(
  url: string,
  response: Response,
  range: [number, number],
  size: number,
  signal?: AbortSignal,
): Promise<Uint8Array<ArrayBuffer>> {
  const wanted = `bytes ${range[0]}-${range[1] - 1}/${size}`;
  const answer = rangeOf(response);
  if (answer?.range?.[0] !== range[0] || answer.range[1] !== range[1] || answer.size !== size) {
    await response.body?.cancel();
    const found = response.headers.get("content-range");
    throw new SourceError(
      url,
      `asked for ${wanted}, the server sent ${found ?? "no Content-Range"}: did the file change?`,
    );
  }
  const buffer = await guarded(url, signal, "the download broke off", () => response.arrayBuffer());
  if (buffer.byteLength !== range[1] - range[0]) {
    throw new SourceError(url, `asked for ${wanted}, the server sent ${buffer.byteLength} bytes`);
  }
  return new Uint8Array(buffer);
}

/** The body of a 200 answer. */
async function wholeBody(url: string, response: Response, signal?: AbortSignal): Promise<Blob> {
  const blob = await guarded(url, signal, "the download broke off", () => response.blob());
  // Of a compressed answer Content-Length counts the compressed bytes.
  const length = response.headers.has("content-encoding") ? null : response.headers.get("content-length");
  if (length !== null && Number(length) !== blob.size) {
    throw new SourceError(url, `the server announced ${length} bytes and sent ${blob.size}`);
  }
  return blob;
}

function checkRange(url: string, size: number, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
    throw new SourceError(url, `bytes ${offset} to ${offset + length} were asked for of a file of ${size}`);
  }
}

async function slice(url: string, blob: Blob, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await guarded(url, undefined, "could not be read", () =>
    blob.slice(offset, offset + length).arrayBuffer(),
  );
  return new Uint8Array(bytes);
}

/** A file held as a Blob. */
function blobSource(url: string, blob: Blob): Source {
  return {
    name: url,
    size: blob.size,
    async read(offset, length, signal) {
      signal?.throwIfAborted();
      checkRange(url, blob.size, offset, length);
      return slice(url, blob, offset, length);
    },
    async close() {},
  };
}

/** What tells one version of a file from another, where the server sends it. */
function versionOf({ headers }: Response): string | undefined {
  return headers.get("etag") ?? headers.get("last-modified") ?? undefined;
}

/** A file read by range requests. `head` is its beginning, `version` what it was then. */
function rangeSource(url: string, size: number, head: Uint8Array<ArrayBuffer>, version: string | undefined): Source {
  /** Everything, once the server has stopped to give ranges. */
  let whole: Blob | undefined;
  return {
    name: url,
    size,
    async read(offset, length, signal) {
      signal?.throwIfAborted();
      checkRange(url, size, offset, length);
      const range: [number, number] = [offset, offset + length];
      if (range[1] <= head.length) return head.slice(...range);
      // A range request cannot ask for nothing.
      if (length === 0) return new Uint8Array(0);
      if (whole) return slice(url, whole, offset, length);
      const response = await request(url, range, signal);
      const now = versionOf(response);
      if (response.ok && version && now && now !== version) {
        await response.body?.cancel();
        throw new SourceError(url, `was ${version} and is ${now} now: the file has changed, load it again`);
      }
      if (response.status === 206 && !isPage(response) && !response.headers.has("content-encoding")) {
        return body(url, response, range, size, signal);
      }
      if (response.status !== 200 || isPage(response)) {
        await response.body?.cancel();
        throw refusal(url, response);
      }
      const blob = await wholeBody(url, response, signal);
      if (blob.size !== size) throw new SourceError(url, `had ${size} bytes, now ${blob.size}: the file has changed`);
      whole = blob;
      return slice(url, blob, offset, length);
    },
    async close() {
      whole = undefined;
    },
  };
}
