/**
 * Where the cache keeps its files. The rules (what is kept, what counts as whole) are in `cached_file.ts`, once for all
 * stores; a store only reads, writes and locks.
 */

/** A file or a folder of a store. */
export interface StoreEntry {
  name: string;
  /** Size in bytes; undefined of a folder. */
  size: number | undefined;
}

/** Paths are names with slashes between them, relative to the store. */
export interface Store {
  /** For messages: where it is. */
  readonly name: string;
  /** A file's bytes; undefined where there is none. */
  read(path: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /**
   * Writes a file of these parts. Nobody ever sees a part of it: the file is the whole new one, or as it was before.
   * @throws StoreFullError when there is no room; what was written of it is gone then
   */
  write(path: string, parts: readonly Uint8Array<ArrayBuffer>[]): Promise<void>;
  /** What is directly in a folder; nothing where there is no folder. */
  list(path: string): Promise<readonly StoreEntry[]>;
  /** Removes a file or a folder with all in it. That there is none is as good. */
  remove(path: string): Promise<void>;
  /** Bytes that there is still room for; undefined where that is not known. */
  room(): Promise<number | undefined>;
  /** Asks that the files be kept when disk space runs low; called before something large is stored. */
  persist(): Promise<void>;
  /**
   * Waits until nobody, in this process or tab or another one, holds the lock of this name, and takes it. A lock whose holder
   * has died is free.
   * @throws the signal's reason when it aborts while waiting
   * @returns what gives it back
   */
  lock(name: string, signal?: AbortSignal): Promise<Release>;
}

/** Gives a lock back. */
export type Release = () => Promise<void>;

/** A store has no room for a file. */
export class StoreFullError extends Error {
  override readonly name = "StoreFullError";
}
