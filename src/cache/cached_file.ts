/**
 * One file that is downloaded in chunks, each kept when it is whole, and read from there.
 *
 * A chunk is stored with its SHA-256 behind it and counts only while that is right, so neither a kill in the middle nor a
 * damaged disk makes a wrong byte. While a reader goes through the file, the chunks ahead of it come in over one connection;
 * who reads only a header gets no more than its chunks.
 * Two who load one file (tabs, processes) lock each chunk while they fetch it, and so share the work.
 */

import { sha256 } from "#platform";
import { abortable } from "../abortable.ts";
import { CacheFullError, IntegrityError, SourceError } from "../errors.ts";
import { requireRange } from "../sources/blob_source.ts";
import type { RemoteFile } from "../sources/remote.ts";
import type { Source } from "../weights/source.ts";
import { ChunkStream } from "./chunk_stream.ts";
import { CHUNK_BYTES, chunkIn, chunkLength, storedChunk, storedLength } from "./chunks.ts";
import type { CacheEntry, Manifest } from "./entry.ts";
import type { Sha256 } from "./sha256.ts";
import { type Release, StoreFullError } from "./store.ts";

/** So many chunks are fetched ahead of the reader at most. */
const AHEAD = 8;

/** So many chunks are kept in memory for the next read. */
const HELD = 3;

/** Where a file's bytes come from, as far as they are there. */
export interface FileProgress {
  /** Over the network. */
  fetched: number;
  /** In the cache, read or not. */
  cached: number;
}

export interface CachedFileOptions {
  /** What is stored has come over the network a moment ago. */
  justFetched?: boolean;
  /** Where its chunks are. */
  directory: string;
  manifest: Manifest;
  /** Undefined where the server cannot be reached. */
  remote: RemoteFile | undefined;
  /** Whether other versions of the file may be wanted too: it is of one commit of several. */
  pinned: boolean;
  /** Goes on without storing when there is no room, instead of failing. */
  uncachedWhenFull: boolean;
  onProgress: (progress: FileProgress) => void;
}

/** Somebody waits for a chunk. */
interface Wanted {
  readers: number;
  bytes: Promise<Uint8Array<ArrayBuffer>>;
  resolve(bytes: Uint8Array<ArrayBuffer>): void;
  reject(reason: unknown): void;
}

export class CachedFile implements Source {
  readonly name: string;
  readonly size: number;
  readonly missing: number;
  readonly #entry: CacheEntry;
  readonly #options: CachedFileOptions;
  readonly #chunks: number;
  readonly #progress: FileProgress;
  #manifest: Manifest;
  /** Chunks that the store has, as far as is known. */
  readonly #stored: Set<number>;
  /** Chunks that were read once, or came. */
  readonly #seen = new Set<number>();
  /** Chunks that `#progress` has as cached. */
  readonly #cached: Set<number>;
  /** The chunks that were read last, checked. */
  readonly #held = new Map<number, Uint8Array<ArrayBuffer>>();
  readonly #wanted = new Map<number, Wanted>();
  /** The chunk that was asked for last. */
  #last = Number.NaN;
  /** How often the chunk behind another one was asked for: so many chunks are fetched ahead. */
  #steps = 0;
  #closed = false;
  /** There was no room: what comes now is not stored. */
  #full = false;
  #filling: { controller: AbortController; done: Promise<void> } | undefined;
  /** Whether there may be something new to fetch since the download last looked. */
  #news = false;
  /** Ends the download's rest. */
  #rouse: () => void = () => {};
  readonly #sum: Sha256 = sha256();
  /** So many chunks, from the first one on, are in `#sum`. */
  #summed = 0;
  #digest: string | undefined;
  #broken: IntegrityError | undefined;

  private constructor(entry: CacheEntry, options: CachedFileOptions, stored: Set<number>) {
    const { manifest, remote } = options;
    this.#entry = entry;
    this.#options = options;
    this.#manifest = manifest;
    this.#stored = stored;
    this.size = manifest.size;
    this.missing = [...stored].reduce((missing, k) => missing - chunkLength(this.size, k), this.size);
    const there = this.size - this.missing;
    const { justFetched = false } = options;
    this.#cached = new Set(justFetched ? [] : stored);
    if (justFetched) for (const k of stored) this.#seen.add(k);
    this.#progress = justFetched ? { fetched: there, cached: 0 } : { fetched: 0, cached: there };
    this.#chunks = Math.ceil(this.size / CHUNK_BYTES);
    this.name = remote?.name ?? `${entry.source}/${manifest.path}`;
    // A chunk that went missing makes the whole doubtful.
    this.#manifest = { ...manifest, whole: manifest.whole && stored.size === this.#chunks };
  }

  /** Opens a file whose manifest is written. */
  static async open(entry: CacheEntry, options: CachedFileOptions): Promise<CachedFile> {
    const { size } = options.manifest;
    const stored = new Set<number>();
    for (const { name, size: bytes } of await entry.store.list(options.directory)) {
      const k = /^\d+$/.test(name) ? Number(name) : -1;
      if (k >= 0 && k * CHUNK_BYTES < size && bytes === storedLength(size, k)) stored.add(k);
    }
    const file = new CachedFile(entry, options, stored);
    if (stored.size > 0) options.onProgress({ ...file.#progress });
    // An answer that nobody needs shall not wait to be read.
    if (file.whole) await options.remote?.close();
    return file;
  }

  /** Whether all of it is there and known to be right. */
  get whole(): boolean {
    return this.#manifest.whole;
  }

  async read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    signal?.throwIfAborted();
    requireRange(this.name, this.size, offset, length);
    // Nothing of a small file goes out unchecked. Of a large one, the load waits for `verified` at its end.
    if (this.#chunks <= 1) await this.verified(signal);
    const bytes = new Uint8Array(length);
    const end = offset + length;
    // More than one chunk, over one connection.
    if (Math.floor(offset / CHUNK_BYTES) < Math.ceil(end / CHUNK_BYTES) - 1) this.#steps ||= 1;
    for (let k = Math.floor(offset / CHUNK_BYTES); k * CHUNK_BYTES < end; k++) {
      const chunk = await this.#chunk(k, signal);
      const begin = k * CHUNK_BYTES;
      bytes.set(chunk.subarray(Math.max(0, offset - begin), end - begin), Math.max(0, begin - offset));
    }
    return bytes;
  }

  /**
   * Fetches what is missing, and checks the whole where its SHA-256 is known.
   * @throws IntegrityError when it is wrong: what was stored is removed then
   */
  async verified(signal?: AbortSignal): Promise<void> {
    const { sha256: expected, path } = this.#manifest;
    const { directory } = this.#options;
    this.#steps = AHEAD;
    while (!this.whole && this.#summed < this.#chunks && !this.#full) {
      const k = this.#summed;
      // Without a SHA-256 to compare with, being there is enough.
      if (expected || !this.#stored.has(k)) this.#add(k, await this.#chunk(k, signal));
      else this.#summed++;
    }
    if (this.#broken) throw this.#broken;
    // Without room there is nothing to read again, for chunks that came in another order.
    if (this.whole || this.#summed < this.#chunks) return;
    this.#digest ??= this.#sum.hex();
    if (expected && this.#digest !== expected) {
      this.#broken = new IntegrityError(this.name, this.#digest, expected);
      this.#stored.clear();
      this.#held.clear();
      await this.#entry.store.remove(directory);
      throw this.#broken;
    }
    if (this.#full) return;
    this.#manifest = { ...this.#manifest, whole: true };
    await this.#storing(() => this.#entry.writeManifest(directory, this.#manifest));
    if (!this.#options.pinned) await this.#entry.keepOnly(path, directory);
  }

  /** Ends the download, unless somebody waits for it. What is there stays; a later read takes it up again. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#held.clear();
    if (this.#wanted.size === 0) this.#filling?.controller.abort();
    await this.#filling?.done;
    await this.#options.remote?.close();
  }

  /** A chunk from memory, from the store or from the server. */
  async #chunk(k: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#broken) throw this.#broken;
    // Readers of several places take turns.
    if (k !== this.#last && (k === this.#last + 1 || this.#seen.has(k - 1))) this.#steps++;
    this.#last = k;
    this.#wake();
    const held = this.#held.get(k) ?? (this.#stored.has(k) ? await this.#load(k) : undefined);
    signal?.throwIfAborted();
    return held ?? this.#fetched(k, signal);
  }

  /** A chunk as the store has it; undefined where it has none that is right. */
  async #load(k: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const path = this.#path(k);
    const stored = await this.#entry.store.read(path);
    const bytes = stored && (await chunkIn(stored, chunkLength(this.size, k)));
    if (!bytes) {
      this.#stored.delete(k);
      this.#seen.delete(k);
      this.#count(k, false);
      if (stored) await this.#entry.store.remove(path);
      return undefined;
    }
    this.#stored.add(k);
    // It is no gain of the cache when what came is read again.
    if (!this.#seen.has(k)) this.#count(k, true);
    this.#seen.add(k);
    this.#hold(k, bytes);
    return bytes;
  }

  /** Counts a chunk as cached, or no longer, and tells if that is new. */
  #count(k: number, cached: boolean): void {
    if (this.#cached.has(k) === cached) return;
    this.#progress.cached += cached ? chunkLength(this.size, k) : -chunkLength(this.size, k);
    if (cached) this.#cached.add(k);
    else this.#cached.delete(k);
    this.#options.onProgress({ ...this.#progress });
  }

  /** Waits until a chunk has been fetched. */
  async #fetched(k: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const wanted = this.#wanted.get(k) ?? newWanted();
    this.#wanted.set(k, wanted);
    wanted.readers++;
    this.#fill();
    this.#wake();
    try {
      return await abortable(wanted.bytes, signal);
    } finally {
      wanted.readers--;
      if (wanted.readers === 0 && this.#wanted.get(k) === wanted) this.#wanted.delete(k);
      // Nobody waits any more because all have been aborted.
      if (signal?.aborted && this.#wanted.size === 0) this.#filling?.controller.abort();
    }
  }

  /** Starts the download, unless it runs. */
  #fill(): void {
    if (this.#filling) return;
    const controller = new AbortController();
    const filling = { controller, done: this.#download(controller.signal) };
    this.#filling = filling;
    filling.done = filling.done
      .catch((error: unknown) => {
        if (controller.signal.aborted) return;
        for (const wanted of this.#wanted.values()) wanted.reject(error);
        this.#wanted.clear();
      })
      .then(() => {
        this.#filling = undefined;
        // Asked for while it was ending.
        if (this.#wanted.size > 0) this.#fill();
      });
  }

  /** Fetches chunks: those that are waited for, then those ahead of the reader. */
  async #download(signal: AbortSignal): Promise<void> {
    const { remote } = this.#options;
    if (!remote)
      throw new SourceError(this.name, "a part of the cached copy is gone, and its server cannot be reached");
    let stream: ChunkStream | undefined;
    let release: Release | undefined;
    signal.addEventListener("abort", () => this.#rouse(), { once: true });
    try {
      for (let previous = -1; !signal.aborted; ) {
        this.#news = false;
        const k = this.#next(previous);
        // The next chunk is locked before this one's lock goes, so that the download stays with whose stream is there already.
        if (k !== previous + 1) await release?.();
        if (k === undefined && this.#closed) return;
        if (k === undefined) {
          await this.#woken(signal);
          continue;
        }
        const locked = await this.#entry.store.lock(this.#path(k), signal);
        await release?.();
        release = locked;
        previous = k;
        const stored = this.#full ? undefined : await this.#load(k);
        if (stored) {
          this.#give(k, stored);
          continue;
        }
        if (!stream?.leadsTo(k)) {
          await stream?.end();
          stream = new ChunkStream(remote, k, this.#streamEnd(k, remote), this.size, signal, (n) => this.#came(n));
        }
        for (let index = -1; index !== k; ) {
          const chunk = await stream.next();
          index = chunk.index;
          await this.#keep(index, chunk.bytes);
        }
      }
    } finally {
      await stream?.end();
      await release?.();
    }
  }

  /** The chunk to fetch; undefined while there is none. */
  #next(previous: number): number | undefined {
    const following = previous + 1;
    if (this.#wanted.has(following)) return following;
    const [waited] = this.#wanted.keys();
    if (waited !== undefined || this.#full || this.#closed) return waited;
    let ahead = Math.max(previous, this.#last) + 1;
    while (this.#stored.has(ahead)) ahead++;
    return ahead < this.#chunks && ahead <= this.#last + Math.min(AHEAD, this.#steps) ? ahead : undefined;
  }

  /** The end of the chunks from `k` on to ask for: those that are not stored, if the reader seems to go on. */
  #streamEnd(k: number, { ranges }: RemoteFile): number {
    // Everything comes, whatever is asked for.
    if (!ranges) return this.#chunks;
    let end = k + 1;
    if (this.#steps === 0) return end;
    while (end < this.#chunks && !this.#stored.has(end)) end++;
    return end;
  }

  #wake(): void {
    this.#news = true;
    this.#rouse();
  }

  async #woken(signal: AbortSignal): Promise<void> {
    if (this.#news || signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#rouse = resolve;
    });
  }

  #came(bytes: number): void {
    this.#progress.fetched += bytes;
    this.#options.onProgress({ ...this.#progress });
  }

  /** Stores a chunk that came, and hands it to those who wait. */
  async #keep(k: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (!this.#full && !this.#stored.has(k)) {
      const stored = await storedChunk(bytes);
      await this.#storing(() => this.#entry.store.write(this.#path(k), stored));
      if (!this.#full) this.#stored.add(k);
      this.#seen.add(k);
    }
    this.#give(k, bytes);
  }

  #give(k: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.#hold(k, bytes);
    this.#add(k, bytes);
    const wanted = this.#wanted.get(k);
    this.#wanted.delete(k);
    wanted?.resolve(bytes);
  }

  /** Adds a chunk to the whole's SHA-256, if it is its turn. */
  #add(k: number, bytes: Uint8Array<ArrayBuffer>): void {
    if (k !== this.#summed) return;
    if (this.#manifest.sha256) this.#sum.update(bytes);
    this.#summed++;
  }

  #hold(k: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.#held.delete(k);
    this.#held.set(k, bytes);
    for (const oldest of this.#held.keys()) {
      if (this.#held.size <= HELD) break;
      this.#held.delete(oldest);
    }
  }

  /** @throws CacheFullError when there is no room, unless that is allowed */
  async #storing(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (cause) {
      if (!(cause instanceof StoreFullError)) throw cause;
      this.#full = true;
      if (this.#options.uncachedWhenFull) return;
      const room = await this.#entry.store.room().catch(() => undefined);
      throw new CacheFullError(this.name, this.missing, room, { cause });
    }
  }

  #path(k: number): string {
    return `${this.#options.directory}/${k}`;
  }
}

function newWanted(): Wanted {
  const wanted = { readers: 0 } as Wanted;
  wanted.bytes = new Promise((resolve, reject) => {
    wanted.resolve = resolve;
    wanted.reject = reject;
  });
  // All readers may have left before it fails.
  wanted.bytes.catch(() => {});
  return wanted;
}
