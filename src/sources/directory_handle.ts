/** A directory that a person opened with `showDirectoryPicker()` or dropped, or one in the origin private file system. */

import { SourceError } from "../errors.ts";
import type { Folder, Source } from "../weights/source.ts";
import { blobSource } from "./blob_source.ts";

/** A `FileSystemDirectoryHandle`, told without its types: not every TypeScript project has them. */
export interface DirectoryHandle {
  readonly kind: "directory";
  readonly name: string;
  getDirectoryHandle(name: string): Promise<DirectoryHandle>;
  getFileHandle(name: string): Promise<{ getFile(): Promise<Blob> }>;
  values(): AsyncIterable<{ readonly kind: string; readonly name: string }>;
}

export function isDirectoryHandle(source: object): source is DirectoryHandle {
  return "getFileHandle" in source && "kind" in source && source.kind === "directory";
}

/** The files of a directory. */
export function directoryFolder(directory: DirectoryHandle): Folder {
  return {
    name: directory.name,
    async list(signal) {
      const names: string[] = [];
      try {
        for await (const { kind, name } of directory.values()) {
          signal?.throwIfAborted();
          if (kind === "file") names.push(name);
        }
      } catch (cause) {
        signal?.throwIfAborted();
        throw unreadable(directory.name, cause);
      }
      return names;
    },
    async open(path, signal): Promise<Source | undefined> {
      signal?.throwIfAborted();
      const name = `${directory.name}/${path}`;
      try {
        const parts = path.split("/");
        const file = parts.pop() ?? "";
        let inside = directory;
        for (const part of parts) inside = await inside.getDirectoryHandle(part);
        const handle = await inside.getFileHandle(file);
        return blobSource(name, await handle.getFile());
      } catch (cause) {
        if (cause instanceof Error && (cause.name === "NotFoundError" || cause.name === "TypeMismatchError")) {
          return undefined;
        }
        throw unreadable(name, cause);
      }
    },
  };
}

/** Permission to a directory ends with the page; a stored handle has to ask again. */
function unreadable(name: string, cause: unknown): SourceError {
  const asks = cause instanceof Error && cause.name === "NotAllowedError";
  const reason = asks ? "this page has no permission to read it: open it again" : cause;
  return new SourceError(name, reason instanceof Error ? reason.message : String(reason), { cause });
}
