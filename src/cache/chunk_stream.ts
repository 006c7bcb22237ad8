/** One connection that brings a run of a file's chunks. */

import { SourceError } from "../errors.ts";
import type { RemoteFile } from "../sources/remote.ts";
import { CHUNK_BYTES, type Chunk, chunksOf } from "./chunks.ts";

/** A download of the chunks `[from, to)`. */
export class ChunkStream {
  readonly #chunks: AsyncGenerator<Chunk>;
  readonly #remote: RemoteFile;
  readonly #to: number;
  /** The chunk that comes next, as far as is known before it comes. */
  #position: number;

  constructor(
    remote: RemoteFile,
    from: number,
    to: number,
    size: number,
    signal: AbortSignal,
    onBytes: (bytes: number) => void,
  ) {
    this.#remote = remote;
    this.#to = to;
    this.#position = from;
    const pieces = remote.pieces(from * CHUNK_BYTES, Math.min(to * CHUNK_BYTES, size), signal);
    this.#chunks = chunksOf(pieces, size, onBytes);
  }

  /** Whether `k` comes next; of a server without ranges, also later. */
  leadsTo(k: number): boolean {
    return k < this.#to && (this.#remote.ranges ? k === this.#position : k >= this.#position);
  }

  async next(): Promise<Chunk> {
    const { done, value } = await this.#chunks.next();
    if (done) throw new SourceError(this.#remote.name, `ended before chunk ${this.#position}`);
    this.#position = value.index + 1;
    return value;
  }

  async end(): Promise<void> {
    await this.#chunks.return(undefined);
  }
}
