/**
 * A file below a URL, fetched by HTTP range requests (RFC 9110, section 14) that go on where a connection broke.
 *
 * The first request asks for a file's beginning and so learns its size; files no longer than that need no second one. A
 * server that knows no ranges, or compresses on the fly so that sizes lie, has its file fetched whole.
 */

import { SourceError } from "../errors.ts";
import { ConnectionError, type Exchange, type Http, type Range, refusal, request, shown } from "./exchange.ts";
import type { Piece, RemoteFile } from "./remote.ts";
import { pause, waitBeforeRetry } from "./retry.ts";

/** Bytes of the first request: all of a config, and the header of a small safetensors file. */
const HEAD_BYTES = 64 * 1024;

/** What is known of a file before it is asked for. */
export interface KnownFile {
  size: number | undefined;
  version: string | undefined;
  sha256: string | undefined;
}

/** A file of which an index told size and version: no request is made before bytes are wanted. */
export function knownHttpFile(url: URL, http: Http, { size, version, sha256 }: KnownFile): RemoteFile {
  return new HttpFile(url, http, { size, version, sha256, ranges: true });
}

/**
 * Opens a file.
 * @param retry how patient the opening is
 * @throws SourceError when the server refuses or cannot be reached; the signal's reason
 * @returns undefined when there is no such file
 */
export async function openHttpFile(
  url: URL,
  http: Http,
  signal?: AbortSignal,
  retry = http.retry,
): Promise<RemoteFile | undefined> {
  const range: Range = [0, HEAD_BYTES];
  const first = await request(url, { ...http, retry }, { range, signal });
  const { status, headers } = first.response;
  const answer = rangeOf(first.response);
  // 416: an empty file has no range to give. 206 without a size: across origins Content-Range is seen only where the server
  // exposes it.
  const partial = status === 206 || status === 416;
  if (!partial || isPage(first.response)) return openWhole(url, http, first);
  if (status === 416 || !answer?.size || headers.has("content-encoding")) {
    await first.cancel();
    return openWhole(url, http, await request(url, http, { signal }));
  }
  const file = new HttpFile(url, http, {
    ...{ size: answer.size, version: versionOf(first.response), sha256: undefined, ranges: true },
  });
  await file.takeHead(first, [0, Math.min(HEAD_BYTES, answer.size)], signal);
  return file;
}

/** A file from an answer without ranges, or undefined where the answer is that there is none. */
async function openWhole(url: URL, http: Http, whole: Exchange): Promise<RemoteFile | undefined> {
  const { response } = whole;
  if (response.ok && !isPage(response)) {
    const size = announcedLength(response);
    return new HttpFile(url, http, { size, version: versionOf(response), sha256: undefined, ranges: false }, whole);
  }
  await whole.cancel();
  if (response.ok || response.status === 404 || response.status === 410) return undefined;
  throw refusal(url, response, http.advice?.(response));
}

/** Servers of single-page apps answer 200 and their start page where there is no file; no file of a model is a page. */
function isPage(response: Response): boolean {
  return /^\s*text\/html\b/i.test(response.headers.get("content-type") ?? "");
}

/** What tells one version of a file from another, where the server sends it. */
function versionOf({ headers }: Response): string | undefined {
  return headers.get("etag") ?? headers.get("last-modified") ?? undefined;
}

/** Bytes of the body, where the server says it: of a compressed one Content-Length counts the compressed bytes. */
function announcedLength({ headers }: Response): number | undefined {
  const length = headers.has("content-encoding") ? null : headers.get("content-length");
  return length === null || !/^\d+$/.test(length) ? undefined : Number(length);
}

interface ContentRange {
  /** Undefined in the answer to a range that cannot be given. */
  range?: Range;
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

/** An answer, and which bytes it brings: `end` is undefined where only the end of the body tells. */
interface Answer {
  exchange: Exchange;
  offset: number;
  end: number | undefined;
}

class HttpFile implements RemoteFile {
  readonly name: string;
  readonly size: number | undefined;
  readonly version: string | undefined;
  readonly sha256: string | undefined;
  ranges: boolean;
  readonly #url: URL;
  readonly #http: Http;
  /** What answers have said of the file's version. */
  #validator: string | undefined;
  /** The file's beginning, which came with the first answer. */
  #head: Uint8Array = new Uint8Array(0);
  /** The first answer, where it is the whole file and nobody has read it yet. */
  #whole: Exchange | undefined;

  constructor(url: URL, http: Http, known: KnownFile & { ranges: boolean }, whole?: Exchange) {
    this.name = shown(url);
    this.size = known.size;
    this.version = known.version;
    this.sha256 = known.sha256;
    this.ranges = known.ranges;
    this.#url = url;
    this.#http = http;
    this.#whole = whole;
  }

  /** Reads the first answer. Where it breaks off, what came of it is the head. */
  async takeHead(exchange: Exchange, range: Range, signal?: AbortSignal): Promise<void> {
    await this.#checkAnswer(exchange, range);
    const head = new Uint8Array(range[1]);
    let filled = 0;
    try {
      for await (const bytes of exchange.bytes(signal)) {
        if (filled + bytes.length > head.length) throw this.#tooLong(range);
        head.set(bytes, filled);
        filled += bytes.length;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof ConnectionError)) throw error;
    }
    this.#head = head.subarray(0, filled);
  }

  async *pieces(from: number, to = this.size, signal?: AbortSignal): AsyncGenerator<Piece> {
    signal?.throwIfAborted();
    /** The next byte to give; undefined before the first answer says where it starts. */
    let at: number | undefined;
    let end = to;
    // Pieces of a server that has stopped to give ranges come from one answer.
    if (from < this.#head.length && (this.ranges || (to ?? Number.POSITIVE_INFINITY) <= this.#head.length)) {
      at = Math.min(this.#head.length, end ?? this.#head.length);
      yield { offset: from, bytes: this.#head.subarray(from, at) };
    }
    for (let failures = 0; end === undefined || (at ?? from) < end; ) {
      try {
        const answer = await this.#ask([at ?? from, end], signal);
        // Nothing has been given yet: a server without ranges may start at the beginning.
        at ??= answer.offset;
        if (answer.offset < at && !this.#validator && !this.sha256) throw await this.#changedUnseen(answer);
        end = answer.offset < from ? answer.end : (end ?? answer.end);
        for await (const piece of this.#body(answer, at, signal)) {
          at = piece.offset + piece.bytes.length;
          failures = 0;
          yield piece;
        }
        end ??= at;
      } catch (error) {
        signal?.throwIfAborted();
        if (!(error instanceof ConnectionError) || error.exhausted) throw error;
        const wait = waitBeforeRetry(this.#http.retry, ++failures);
        if (wait === undefined) throw error;
        await pause(wait, signal);
      }
    }
  }

  async close(): Promise<void> {
    await this.#whole?.cancel();
    this.#whole = undefined;
  }

  /**
   * Asks for a range, or for everything where the server gives no ranges.
   * @throws SourceError when the answer is another one, or of another version of the file
   */
  async #ask([begin, end]: [number, number | undefined], signal?: AbortSignal): Promise<Answer> {
    const whole = this.#whole;
    if (whole) {
      this.#whole = undefined;
      await this.#checkVersion(whole);
      return { exchange: whole, offset: 0, end: this.size };
    }
    const range: Range | undefined = this.ranges && end !== undefined ? [begin, end] : undefined;
    const exchange = await request(this.#url, this.#http, { range, signal });
    const { response } = exchange;
    if (range && response.status === 206 && !isPage(response)) {
      if (!response.headers.has("content-encoding")) {
        await this.#checkAnswer(exchange, range);
        return { exchange, offset: range[0], end: range[1] };
      }
      // A range of the compressed file is of no use.
      await exchange.cancel();
      this.ranges = false;
      return this.#ask([begin, end], signal);
    }
    if (response.status !== 200 || isPage(response)) {
      await exchange.cancel();
      throw refusal(this.#url, response, this.#http.advice?.(response));
    }
    this.ranges = false;
    await this.#checkVersion(exchange);
    const length = announcedLength(response);
    if (length !== undefined && this.size !== undefined && length !== this.size) {
      await exchange.cancel();
      throw new SourceError(this.name, `had ${this.size} bytes, now ${length}: the file has changed`);
    }
    return { exchange, offset: 0, end: this.size ?? length };
  }

  /** The bytes of an answer from `at` on; exactly up to its end. */
  async *#body({ exchange, offset, end }: Answer, at: number, signal?: AbortSignal): AsyncGenerator<Piece> {
    let position = offset;
    for await (const bytes of exchange.bytes(signal)) {
      const begin = position;
      position += bytes.length;
      if (end !== undefined && position > end) throw this.#tooLong([offset, end]);
      const skipped = Math.max(0, at - begin);
      if (skipped < bytes.length) yield { offset: begin + skipped, bytes: bytes.subarray(skipped) };
    }
    if (end === undefined || position === end) return;
    // The server said how much it would send and kept to that: it has less than it should.
    const announced = announcedLength(exchange.response);
    if (announced !== undefined) {
      throw new SourceError(this.name, `the server announced ${announced} bytes and sent ${position - offset}`);
    }
    throw new ConnectionError(this.name, `the download broke off at byte ${position} of ${end}`);
  }

  async #checkAnswer(exchange: Exchange, range: Range): Promise<void> {
    const { response } = exchange;
    try {
      await this.#checkVersion(exchange);
      const size = this.size ?? "*";
      const wanted = `asked for bytes ${range[0]}-${range[1] - 1}/${size}`;
      const answer = rangeOf(response);
      const length = announcedLength(response);
      // Across origins Content-Range may be hidden; then the length has to tell, and in the end the SHA-256.
      const hidden = !answer && this.sha256 !== undefined && length === range[1] - range[0];
      const same = answer?.range?.[0] === range[0] && answer.range[1] === range[1];
      if (!hidden && (!same || (answer.size !== undefined && this.size !== undefined && answer.size !== this.size))) {
        const found = response.headers.get("content-range");
        throw new SourceError(
          this.name,
          `${wanted}, the server sent ${found ?? "no Content-Range"}: did the file change?`,
        );
      }
      if (length !== undefined && length !== range[1] - range[0]) {
        throw new SourceError(this.name, `${wanted}, the server sent ${length} bytes`);
      }
    } catch (error) {
      await exchange.cancel();
      throw error;
    }
  }

  /** Where the SHA-256 is known it tells in the end, and hosts of one file may name its version differently. */
  async #checkVersion(exchange: Exchange): Promise<void> {
    const now = versionOf(exchange.response);
    if (!this.sha256 && this.#validator && now && now !== this.#validator) {
      await exchange.cancel();
      throw new SourceError(this.name, `was ${this.#validator} and is ${now} now: the file has changed, load it again`);
    }
    this.#validator ??= now;
  }

  async #changedUnseen({ exchange }: Answer): Promise<SourceError> {
    await exchange.cancel();
    return new SourceError(
      this.name,
      "the download broke off, and the server gives neither ranges nor an ETag to take it up again: load it again",
    );
  }

  #tooLong(range: Range): SourceError {
    return new SourceError(this.name, `the server sent more than the bytes ${range[0]}-${range[1] - 1}`);
  }
}
