/** Where a model is, as it crosses to a worker, which resolves addresses against its own. */

import { InputError, SourceError } from "../errors.ts";
import type { ModelSource } from "../types.ts";

/** @throws InputError for what only the page can read */
export function sentSource(source: ModelSource): unknown {
  if (source instanceof URL) return source.href;
  if (typeof source === "string") return isName(source) ? source : absolute(source);
  if (isBlob(source)) return source;
  if ("kind" in source && source.kind === "directory") return source; // a directory's handle is cloned
  if ("length" in source) return Array.from(source);
  const [found, expected] = [
    "a Folder of one's own",
    "a name, a URL, files or a directory's handle: a worker reads it",
  ];
  throw new InputError({ file: "load", field: "source", found, expected });
}

/** `hf:owner/name` is no address. */
function isName(source: string): boolean {
  return source.startsWith("hf:");
}

function isBlob(source: unknown): source is Blob {
  return typeof Blob !== "undefined" && source instanceof Blob;
}

/** As the page means it; outside of pages it may be a path. */
function absolute(source: string): string {
  const page = globalThis.document?.baseURI ?? globalThis.location?.href;
  if (page === undefined) return source;
  try {
    return new URL(source, page).href;
  } catch (cause) {
    throw new SourceError(source, "is not a URL: name the URL of a folder that holds a model", { cause });
  }
}
