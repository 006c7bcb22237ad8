/**
 * Reads a binary header whose length nobody knows beforehand: in ranges that grow, and never a byte behind the file's end.
 *
 * A header is a sequence of items. An item is read without waiting from the bytes at hand; where they end too early, more
 * are fetched and the item is begun anew. Ranges double, so an item of several MB is begun a handful of times.
 */

import { FileFormatError } from "../errors.ts";
import type { Source } from "./source.ts";

/** Thrown while an item is read, for `item` to catch: it needs the file up to `end`. */
class MoreBytes extends Error {
  readonly end: number;
  constructor(end: number) {
    super("more bytes");
    this.end = end;
  }
}

/** Longest range that is asked for ahead of need, but for an item that has more already. */
const MAX_WINDOW_BYTES = 2 ** 23;

export class HeaderReader {
  readonly #source: Source;
  /** Longest header that is read. */
  readonly #maxBytes: number;
  readonly #signal: AbortSignal | undefined;
  /** Bytes of the file from `#start` on. */
  #bytes = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);
  #start = 0;
  /** Next byte to read, in `#bytes`. */
  #at = 0;
  /** Bytes at hand after the next fetch, at least. */
  #window: number;
  /** What is being read, for messages. */
  field = "header";

  constructor(source: Source, options: { firstRange: number; maxBytes: number; signal?: AbortSignal | undefined }) {
    this.#source = source;
    this.#window = options.firstRange;
    this.#maxBytes = options.maxBytes;
    this.#signal = options.signal;
  }

  /** File offset of the next byte. */
  get position(): number {
    return this.#start + this.#at;
  }

  /** Bytes between the next one and the end of the file, or of the longest header there may be. */
  get remaining(): number {
    return Math.min(this.#source.size, this.#maxBytes) - this.position;
  }

  /** Reads one item. `read` may run several times and must do nothing but read. */
  async item<T>(read: () => T): Promise<T> {
    const begin = this.position;
    for (;;) {
      try {
        return read();
      } catch (error) {
        if (!(error instanceof MoreBytes)) throw error;
        await this.#fetch(begin, error.end);
      }
    }
  }

  /** Drops what lies before `begin` and fetches, at least up to `needed`. */
  async #fetch(begin: number, needed: number): Promise<void> {
    const kept = this.#bytes.subarray(begin - this.#start);
    // Twice what an item has now, or else an item of many ranges would be begun anew for each.
    const ahead = begin + Math.max(this.#window, 2 * kept.length);
    const end = Math.min(Math.max(needed, ahead), this.#source.size, this.#maxBytes);
    const from = begin + kept.length;
    const more = await this.#source.read(from, end - from, this.#signal);
    const bytes = new Uint8Array(kept.length + more.length);
    bytes.set(kept);
    bytes.set(more, kept.length);
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
    this.#start = begin;
    this.#at = 0;
    this.#window = Math.min(2 * this.#window, MAX_WINDOW_BYTES);
  }

  /**
   * Moves on by `length` bytes.
   * @returns where they begin in `#bytes`
   */
  #take(length: number): number {
    this.require(length);
    const begin = this.#at;
    if (begin + length > this.#bytes.length) throw new MoreBytes(this.position + length);
    this.#at += length;
    return begin;
  }

  /** @throws FileFormatError when fewer than `length` bytes are left */
  require(length: number): void {
    if (length <= this.remaining) return;
    const needed = `${this.position + length} bytes`;
    throw this.position + length <= this.#source.size
      ? this.error(`a header of ${needed} or more`, `at most ${this.#maxBytes} bytes`)
      : this.error(`a file of ${this.#source.size} bytes`, `at least ${needed}: it is truncated or damaged`);
  }

  /** An error about what is being read. */
  error(found: string, expected: string, options?: ErrorOptions): FileFormatError {
    return new FileFormatError({ file: this.#source.name, field: this.field, found, expected }, options);
  }

  /** A copy of the next `length` bytes. */
  bytes(length: number): Uint8Array<ArrayBuffer> {
    const begin = this.#take(length);
    return this.#bytes.slice(begin, begin + length);
  }

  /** The next `length` bytes as text. */
  text(length: number, decoder: TextDecoder): string {
    const begin = this.#take(length);
    if (length === 0) return "";
    return decoder.decode(this.#bytes.subarray(begin, begin + length));
  }

  uint8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  int8(): number {
    return this.#view.getInt8(this.#take(1));
  }

  uint16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  int16(): number {
    return this.#view.getInt16(this.#take(2), true);
  }

  uint32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  int32(): number {
    return this.#view.getInt32(this.#take(4), true);
  }

  /** Beyond 2^53 it is rounded, and then no safe integer. */
  uint64(): number {
    const at = this.#take(8);
    return this.#view.getUint32(at + 4, true) * 2 ** 32 + this.#view.getUint32(at, true);
  }

  /** Like `uint64`. */
  int64(): number {
    const at = this.#take(8);
    return this.#view.getInt32(at + 4, true) * 2 ** 32 + this.#view.getUint32(at, true);
  }

  float32(): number {
    return this.#view.getFloat32(this.#take(4), true);
  }

  float64(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }
}
