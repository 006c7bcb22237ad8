/**
 * What servers have: files that are streamed, from a byte on, rather than read at will.
 *
 * `directFolder` reads them as they are, `cachedFolder` keeps what came.
 */

import type { RetryPolicy } from "./retry.ts";

/** Bytes of a file and where they lie in it. */
export interface Piece {
  offset: number;
  bytes: Uint8Array;
}

/** A file on a server. */
export interface RemoteFile {
  /** Name for messages: its URL without the query. */
  readonly name: string;
  /** Size in bytes; undefined where only the end of the body tells, as of a body that is compressed on the fly. */
  readonly size: number | undefined;
  /** What tells this version of the file from others; undefined where the server sends nothing of the kind. */
  readonly version: string | undefined;
  /** SHA-256 of the whole file in hexadecimal digits, where it was published. */
  readonly sha256: string | undefined;
  /** Whether the server gives parts of it, as far as is known by now. */
  readonly ranges: boolean;
  /**
   * Streams `[from, to)` in order, without gaps. A server that gives no ranges starts at 0 instead and goes on to the end.
   * Broken connections are taken up where they broke.
   * @param to default: the end
   * @throws SourceError when it cannot be had whole, or has changed since it was opened; the signal's reason
   */
  pieces(from: number, to?: number, signal?: AbortSignal): AsyncGenerator<Piece>;
  /** Lets go of an answer that was not read. */
  close(): Promise<void>;
}

/** The files of one model on a server. */
export interface RemoteFolder {
  readonly name: string;
  /** Whether an index told all files of one commit: what is there needs no request, and never changes. */
  readonly pinned: boolean;
  /**
   * @param retry how patient the opening is; default: as all requests
   * @returns undefined when there is no such file
   */
  open(path: string, signal?: AbortSignal, retry?: RetryPolicy): Promise<RemoteFile | undefined>;
  list?(signal?: AbortSignal): Promise<readonly string[]>;
}
