/** Files of a model that are picked with a dialogue, or dropped anywhere on the page. */

import { byId } from "./elements.ts";

/** @param folder the name of the folder that was dropped, where one was */
export type OnFiles = (files: readonly File[], folder?: string) => void;

/** Calls back with what is picked or dropped. A dropped folder gives its own files, not those of folders in it. */
export function watchFiles(onFiles: OnFiles): void {
  const input = byId("files", HTMLInputElement);
  byId("pick-files", HTMLButtonElement).addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const files = [...(input.files ?? [])];
    // So that picking the same files again counts.
    input.value = "";
    if (files.length > 0) onFiles(files);
  });
  watchDrops(onFiles);
}

function watchDrops(onFiles: OnFiles): void {
  const zone = byId("drop", HTMLElement);
  const holdsFiles = ({ dataTransfer }: DragEvent) => dataTransfer?.types.includes("Files") ?? false;
  document.addEventListener("dragover", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    zone.hidden = false;
  });
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) zone.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    zone.hidden = true;
    // What was dropped has to be asked for now: after the event it is gone.
    const entries = [...(event.dataTransfer?.items ?? [])].map((item) => item.webkitGetAsEntry());
    const files = [...(event.dataTransfer?.files ?? [])];
    void readDrop(entries, files).then(([found, folder]) => {
      if (found.length > 0) onFiles(found, folder);
    });
  });
}

async function readDrop(
  entries: readonly (FileSystemEntry | null)[],
  files: readonly File[],
): Promise<[files: readonly File[], folder?: string]> {
  const [entry] = entries;
  if (entries.length !== 1 || !isDirectory(entry)) return [files];
  const inside = await entriesOf(entry);
  return [await Promise.all(inside.filter(isFile).map(fileOf)), entry.name];
}

/** A reader gives a hundred or so at a time, and none at the end. */
async function entriesOf(directory: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = directory.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return all;
    all.push(...some);
  }
}

function fileOf(entry: FileSystemFileEntry): Promise<File> {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

function isDirectory(entry: FileSystemEntry | null | undefined): entry is FileSystemDirectoryEntry {
  return entry?.isDirectory ?? false;
}

function isFile(entry: FileSystemEntry): entry is FileSystemFileEntry {
  return entry.isFile;
}
