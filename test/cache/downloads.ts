/** What tests of the cache share: files that take several chunks, a hub that has them, a cache of their own. */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import { CHUNK_BYTES } from "../../src/cache/chunks.ts";
import { openSource } from "../../src/sources/open.ts";
import type { SourceOptions } from "../../src/types.ts";
import type { Folder } from "../../src/weights/source.ts";
import { HubServer } from "../sources/hub_server.ts";
import { QUICK } from "../sources/quick.ts";
import { seeded, temporaryFolder } from "../weights/model_folder.ts";

export const LARGE = "model.safetensors";
export const SMALL = "config.json";

/** Fresh bytes each run. */
export function randomBytes(length: number): Buffer {
  const random = seeded(Date.now() + length);
  return Buffer.from(Uint32Array.from({ length: Math.ceil(length / 4) }, () => random() * 2 ** 32).buffer).subarray(
    0,
    length,
  );
}

/** Two and a half chunks. */
export const LARGE_BYTES = 2.5 * CHUNK_BYTES + 17;

/** A hub with a small and a large file, until the test ends. */
export async function hub(): Promise<HubServer> {
  const server = await HubServer.start({
    [SMALL]: Buffer.from(JSON.stringify({ seed: Math.random() })),
    [LARGE]: randomBytes(LARGE_BYTES),
  });
  onTestFinished(() => server.stop());
  return server;
}

/** A hub, a cache and the options that go with them. */
export async function place(): Promise<{ server: HubServer; folder: string; options: SourceOptions }> {
  const server = await hub();
  const folder = temporaryFolder();
  return { server, folder, options: { endpoint: server.endpoint, cache: { folder } } };
}

/** Opens with little patience. */
export function open(source: string | URL, options: SourceOptions & { signal?: AbortSignal }): Promise<Folder> {
  return openSource(source, options, QUICK);
}

/** Reads a file from begin to end in odd steps, as a load does, and awaits that it is verified. */
export async function readAll(folder: Folder, path: string, signal?: AbortSignal): Promise<Buffer> {
  const source = await folder.open(path, signal);
  if (!source) throw new Error(`no ${path}`);
  try {
    const step = 3_000_001;
    const parts: Uint8Array[] = [];
    for (let offset = 0; offset < source.size; offset += step) {
      parts.push(await source.read(offset, Math.min(step, source.size - offset), signal));
    }
    await folder.verified?.(signal);
    return Buffer.concat(parts);
  } finally {
    await source.close();
  }
}

/** The same bytes. Vitest's own comparison of so many takes minutes. */
export function expectSame(found: Buffer, expected: Buffer | undefined): void {
  expect(found.length).toBe(expected?.length);
  expect(found.equals(expected!)).toBe(true);
}

/** Paths and sizes of all files below a folder; one that goes while it is looked at (a lock, a part that is renamed) was not there. */
export function filesBelow(folder: string): Map<string, number> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => join(entry.parentPath, entry.name)).sort();
  const sizes = paths.map((path) => [path, statSync(path, { throwIfNoEntry: false })?.size] as const);
  return new Map(sizes.filter((entry): entry is readonly [string, number] => entry[1] !== undefined));
}

/** The stored chunks of a cache, in order. */
export function chunksBelow(folder: string): string[] {
  return [...filesBelow(folder).keys()].filter((path) => /\/\d+$/.test(path));
}

/** Whether a manifest below says that all of a file is there. */
export function wholeBelow(folder: string, path: string): boolean {
  const manifests = [...filesBelow(folder).keys()].filter((file) => file.endsWith("manifest.json"));
  return manifests.map((file) => JSON.parse(readFileSync(file, "utf8"))).some((m) => m.path === path && m.whole);
}
