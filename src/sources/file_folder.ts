/** A directory on disk, or one file that is a whole model (Node only), read by ranges through file handles. */

import { existsSync, statSync } from "node:fs";
import { type FileHandle, open, readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { SourceError } from "../errors.ts";
import type { Folder, Source } from "../weights/source.ts";
import { EXIT_ADAPTER_FILE, isModelFile, isOfFile } from "./model_file.ts";

/** One system call reads at most this much, so that an abort is heard in between. */
const CHUNK_BYTES = 16 * 2 ** 20;

/**
 * The files of a directory, or the one file that `location` names: a `.gguf` file, or an exit adapter.
 * @throws SourceError when it is not there or neither of them
 */
export function fileFolder(location: string): Folder {
  if (isDirectory(location)) {
    return {
      name: location,
      async list(signal) {
        signal?.throwIfAborted();
        const entries = await readdir(location, { withFileTypes: true }).catch((cause) => {
          throw new SourceError(location, reasonOf(cause), { cause });
        });
        // Caches of other tools hold links to the files.
        return entries.filter((entry) => entry.isFile() || entry.isSymbolicLink()).map(({ name }) => name);
      },
      async open(path, signal) {
        signal?.throwIfAborted();
        return openFile(join(location, path));
      },
    };
  }
  const file = basename(location);
  return {
    name: location,
    async list(signal) {
      signal?.throwIfAborted();
      const has = isModelFile(file) && existsSync(join(dirname(location), EXIT_ADAPTER_FILE));
      return has ? [file, EXIT_ADAPTER_FILE] : [file];
    },
    async open(path, signal) {
      signal?.throwIfAborted();
      return isOfFile(file, path) ? openFile(join(dirname(location), path)) : undefined;
    },
  };
}

/** @throws SourceError when there is neither a directory nor a file that is a whole model */
function isDirectory(location: string): boolean {
  try {
    const status = statSync(location);
    if (status.isDirectory()) return true;
    if (status.isFile() && (isModelFile(location) || /\.safetensors$/i.test(location))) return false;
  } catch (cause) {
    const reason = isAbsent(cause)
      ? "no such folder: name the folder that holds the model, or write hf:owner/name for one on the hub"
      : reasonOf(cause);
    throw new SourceError(location, reason, { cause });
  }
  throw new SourceError(
    location,
    "is a file, not the folder of a model, a .gguf file or (an adapter) a .safetensors file",
  );
}

async function openFile(path: string): Promise<Source | undefined> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, "r");
    const status = await handle.stat();
    if (!status.isFile()) throw new SourceError(path, "is not a file");
    return fileSource(path, handle, status.size);
  } catch (cause) {
    await handle?.close();
    if (cause instanceof SourceError) throw cause;
    if (isAbsent(cause)) return undefined;
    throw new SourceError(path, reasonOf(cause), { cause });
  }
}

function fileSource(name: string, handle: FileHandle, size: number): Source {
  return {
    name,
    size,
    async read(offset, length, signal) {
      if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
        throw new SourceError(name, `bytes ${offset} to ${offset + length} were asked for of a file of ${size}`);
      }
      const bytes = new Uint8Array(length);
      for (let done = 0; done < length; ) {
        signal?.throwIfAborted();
        const chunk = Math.min(CHUNK_BYTES, length - done);
        const { bytesRead } = await handle.read(bytes, done, chunk, offset + done).catch((cause) => {
          throw new SourceError(name, reasonOf(cause), { cause });
        });
        if (bytesRead === 0)
          throw new SourceError(name, `ends at byte ${offset + done}, it had ${size} when it was opened`);
        done += bytesRead;
      }
      signal?.throwIfAborted();
      return bytes;
    },
    close: () => handle.close(),
  };
}

/** Whether a system error says that there is nothing of that name. */
function isAbsent(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
