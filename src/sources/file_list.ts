/** Files that a person dropped on a page or picked: one `.gguf` file, or the files of a folder. */

import { SourceError } from "../errors.ts";
import type { Folder } from "../weights/source.ts";
import { blobSource } from "./blob_source.ts";
import { isModelFile } from "./model_file.ts";

/** A Blob is taken for a GGUF file, a File for what its name says. */
const NAMELESS = "model.gguf";

/**
 * A model of these files.
 * @throws SourceError when they cannot be one
 */
export function fileList(files: readonly Blob[]): Folder {
  const paths = files.map(pathOf);
  if (files.length === 0) throw new SourceError("files", "there are none: drop the folder of a model, or a .gguf file");
  if (files.length === 1 && !isModelFile(paths[0]!)) {
    throw new SourceError(paths[0]!, "is one file of a model: drop all of its folder, or a .gguf file");
  }
  // A dropped folder's files begin with its name.
  const top = paths.every((path) => path.includes("/") && path.startsWith(paths[0]!.replace(/\/.*/s, "/")))
    ? paths[0]!.replace(/\/.*/s, "/")
    : "";
  const byPath = new Map(files.map((file, i) => [paths[i]!.slice(top.length), file]));
  const name = top.slice(0, -1) || (files.length === 1 ? paths[0]! : "files");
  return {
    name,
    async list() {
      return [...byPath.keys()].filter((path) => !path.includes("/"));
    },
    async open(path, signal) {
      signal?.throwIfAborted();
      const file = byPath.get(path);
      return file && blobSource(path === name ? name : `${name}/${path}`, file);
    },
  };
}

function pathOf(file: Blob): string {
  const { name, webkitRelativePath } = { name: undefined, webkitRelativePath: undefined, ...pick(file) };
  return webkitRelativePath || name || NAMELESS;
}

function pick(file: Blob): { name?: string; webkitRelativePath?: string } {
  const { name, webkitRelativePath } = file as Partial<File>;
  return { name, webkitRelativePath };
}
