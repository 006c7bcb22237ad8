/** Real model folders on disk for tests to damage: copies of a small checkpoint, and safetensors files made from parts. */

import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { Folder } from "../../src/weights/source.ts";

const ROOT = join(import.meta.dirname, "../..");

/** The default model: F32, tied head, one file. */
export const STORIES = join(ROOT, "models/stories260k-layerskip");
/** Untied head, one file. */
export const LLAMA = join(ROOT, "test/assets/families/llama");
/** BF16, two shards. */
export const SHARDED = join(ROOT, "test/assets/families/llama-mha-bf16-sharded");

export type Json = Record<string, unknown>;

/** An empty folder, gone when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "layerleap-test-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A copy of a model that a test may damage. */
export function copyOf(model: string): string {
  const folder = temporaryFolder();
  for (const name of readdirSync(model)) {
    if (name !== "golden.json") copyFileSync(join(model, name), join(folder, name));
  }
  return folder;
}

export function readJson(folder: string, name: string): Json {
  return JSON.parse(readFileSync(join(folder, name), "utf8"));
}

/** Rewrites a JSON file of the folder. */
export function editJson(folder: string, name: string, edit: (json: Json) => void): void {
  const json = readJson(folder, name);
  edit(json);
  writeFileSync(join(folder, name), JSON.stringify(json));
}

/** Header and data of a safetensors file. */
export interface Parts {
  header: Record<string, Json>;
  data: Uint8Array;
}

export function takeApart(path: string): Parts {
  const bytes = readFileSync(path);
  const end = 8 + Number(bytes.readBigUInt64LE(0));
  return { header: JSON.parse(bytes.toString("utf8", 8, end)), data: bytes.subarray(end) };
}

/** The bytes of a safetensors file. `headerLength` may lie. */
export function putTogether(header: unknown, data: Uint8Array, headerLength?: number | bigint): Buffer {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(headerLength ?? json.length));
  return Buffer.concat([length, json, data]);
}

/** Rewrites a safetensors file of the folder. */
export function editSafetensors(folder: string, name: string, edit: (parts: Parts) => void): void {
  const path = join(folder, name);
  const parts = takeApart(path);
  edit(parts);
  writeFileSync(path, putTogether(parts.header, parts.data));
}

/** Removes a tensor and its bytes, so that the file stays sound. */
export function removeTensor(parts: Parts, name: string): void {
  const [begin, end] = parts.header[name]!.data_offsets as [number, number];
  delete parts.header[name];
  parts.data = Buffer.concat([parts.data.subarray(0, begin), parts.data.subarray(end)]);
  for (const entry of Object.values(parts.header)) {
    const offsets = entry.data_offsets as [number, number] | undefined;
    if (offsets && offsets[0] >= end) entry.data_offsets = offsets.map((offset) => offset - (end - begin));
  }
}

/** Counts the files of a folder that are open. */
export function counting(folder: Folder): Folder & { open: Folder["open"]; opened: () => number } {
  let opened = 0;
  return {
    name: folder.name,
    opened: () => opened,
    async open(path, signal) {
      const source = await folder.open(path, signal);
      if (!source) return undefined;
      opened++;
      let closed = false;
      return {
        name: source.name,
        size: source.size,
        read: (offset, length, signal) => source.read(offset, length, signal),
        async close() {
          if (!closed) opened--;
          closed = true;
          await source.close();
        },
      };
    },
  };
}

/** Seeded random numbers in [0, 1) (mulberry32), so that a failure can be repeated. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What `work` is rejected with. */
export async function failure(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => new Error("it succeeded"),
    (error: unknown) => error,
  );
}
