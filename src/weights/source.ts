/**
 * Where a model's bytes come from.
 *
 * A `Folder` names the files of one model; a `Source` is one of those files, read by ranges so that a model never has to
 * fit in host memory. Each place (a directory in Node, a URL, dropped files) is one small implementation of these two.
 */

import type { SourceType } from "../kernels/source_type.ts";

/** One file that can be read by ranges. */
export interface Source {
  /** Name for messages: a path or URL. */
  readonly name: string;
  /** Size in bytes. */
  readonly size: number;
  /** Bytes that a server had still to send when it was opened; absent where the file is at hand. */
  readonly missing?: number;
  /**
   * Bytes `[offset, offset + length)`: exactly `length` of them.
   * @throws SourceError when the range cannot be read whole.
   */
  read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
  /** Releases what is held open. */
  close(): Promise<void>;
}

/** The files of one model. */
export interface Folder {
  /** Name for messages: a path or URL. */
  readonly name: string;
  /**
   * Opens a file.
   * @throws SourceError when it is there but cannot be opened.
   * @returns undefined when there is no such file.
   */
  open(path: string, signal?: AbortSignal): Promise<Source | undefined>;
  /**
   * Names of the files directly in it, in any order. Absent where the place cannot tell, as a plain web server.
   * @throws SourceError when the place should know and does not answer
   */
  list?(signal?: AbortSignal): Promise<readonly string[]>;
  /**
   * Ends when all files opened so far are known to be what was published. A folder whose bytes need no such check has none.
   * To be awaited before anything made of those bytes is handed out, and before the files are closed; may read their rest.
   * @throws IntegrityError when one is not; SourceError when its rest cannot be read; the signal's reason
   */
  verified?(signal?: AbortSignal): Promise<void>;
}

/** A tensor of a kind that weights are loaded from, as it lies in a file. */
export interface WeightTensor {
  /** As the file has it. */
  name: string;
  dtype: SourceType;
  /** Row-major: the last size is that of a row. */
  shape: readonly number[];
  source: Source;
  /** First byte, counted from the start of the file. */
  offset: number;
  byteLength: number;
}
