/** Models for the page's tests: repositories on a hub of this machine, and files that are dropped. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, type Locator, type Page } from "@playwright/test";
import type { HubServer } from "../test/sources/hub_server.ts";
import { status } from "./page_story.ts";

const ROOT = join(import.meta.dirname, "..");

/** A tiny Llama, and the page's own model. */
export const LLAMA = join(ROOT, "test/assets/families/llama");
export const STORIES = join(ROOT, "models/stories260k-layerskip");

export type Files = Record<string, Buffer>;

/** The files of a model's folder. */
export function filesOf(folder: string): Files {
  const names = readdirSync(folder).filter((name) => /\.(json|safetensors)$/.test(name) && name !== "golden.json");
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name))]));
}

/** The same model in more bytes: a tensor that it does not need. */
export function enlarged(files: Files, bytes: number): Files {
  const weights = files["model.safetensors"]!;
  const headerEnd = 8 + Number(weights.readBigUInt64LE());
  const data = weights.subarray(headerEnd);
  const header = JSON.parse(weights.toString("utf8", 8, headerEnd));
  header.unused = { dtype: "U8", shape: [bytes], data_offsets: [data.length, data.length + bytes] };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return { ...files, "model.safetensors": Buffer.concat([length, text, data, Buffer.alloc(bytes, 7)]) };
}

/** The same model with some fields of a JSON file changed. */
export function changed(files: Files, name: string, fields: Record<string, unknown>): Files {
  return { ...files, [name]: Buffer.from(JSON.stringify({ ...JSON.parse(files[name]!.toString()), ...fields })) };
}

/** From now on the hub sends of a large file all but the last megabyte of what was asked, and waits for the call back. */
export function holdBack(server: HubServer): () => void {
  const waiting: (() => void)[] = [];
  server.meddle = ({ at, path, range }, response) => {
    if (at !== "cdn") return false;
    const file = server.files.get(path.split("/").at(-1)!)!;
    const [begin, end] = range ?? [0, file.length];
    const held = Math.max(begin, end - 1e6);
    const headers = { "content-length": end - begin, "content-range": `bytes ${begin}-${end - 1}/${file.length}` };
    response.writeHead(range ? 206 : 200, headers);
    response.write(file.subarray(begin, held));
    waiting.push(() => response.end(file.subarray(held, end)));
    return true;
  };
  return () => {
    server.meddle = () => false;
    for (const go of waiting.splice(0)) go();
  };
}

/** Opens the page with the hub of this machine and nothing running. */
export async function openWithHub(page: Page, { endpoint }: HubServer, more: Record<string, string> = {}) {
  await page.goto(`./?${new URLSearchParams({ autorun: "0", endpoint, ...more })}`);
}

export function modelField(page: Page): Locator {
  return page.getByRole("combobox", { name: "Model" });
}

/** What the page says of the model that was looked up. */
export function found(page: Page): Locator {
  return page.locator("#found-words");
}

export async function lookUp(page: Page, name: string): Promise<void> {
  await expect(status(page)).toHaveText("Ready.");
  await modelField(page).fill(name);
  await modelField(page).press("Enter");
}

/** Drops files on the page, which end as files of a browser do that come from a disk. */
export async function drop(page: Page, files: string[] | { name: string; mimeType: string; buffer: Buffer }[]) {
  await page.evaluate(() => {
    const input = document.createElement("input");
    Object.assign(input, { type: "file", multiple: true, id: "test-files", hidden: true });
    document.body.append(input);
  });
  await page.locator("#test-files").setInputFiles(files);
  await page.evaluate(() => {
    const input = document.querySelector<HTMLInputElement>("#test-files");
    const dataTransfer = new DataTransfer();
    for (const file of input?.files ?? []) dataTransfer.items.add(file);
    for (const type of ["dragover", "drop"]) {
      document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
    }
    input?.remove();
  });
}
