import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { SourceError } from "../../src/errors.ts";
import { fileFolder } from "../../src/sources/file_folder.ts";
import { failure, STORIES, temporaryFolder } from "../weights/model_folder.ts";

const WEIGHTS = join(STORIES, "model.safetensors");

test("reads give exactly the bytes asked for, also in parallel", async () => {
  const bytes = readFileSync(WEIGHTS);
  const source = (await fileFolder(STORIES).open("model.safetensors"))!;
  expect(source).toMatchObject({ name: WEIGHTS, size: bytes.length });
  const ranges = [
    [0, 8],
    [5, 0],
    [1000, 70_000],
    [bytes.length - 1, 1],
    [bytes.length, 0],
    [0, bytes.length],
  ] as const;
  await Promise.all(
    ranges.map(async ([offset, length]) => {
      const read = await source.read(offset, length);
      expect(read.length).toBe(length);
      expect(Buffer.from(read).equals(bytes.subarray(offset, offset + length))).toBe(true);
    }),
  );
  await source.close();
});

test("a range outside the file is refused before anything is allocated", async () => {
  const source = (await fileFolder(STORIES).open("config.json"))!;
  for (const [offset, length] of [
    [0, 1e15],
    [-1, 1],
    [source.size, 1],
    [0, -1],
    [Number.NaN, 1],
  ] as const) {
    expect(await failure(source.read(offset, length))).toBeInstanceOf(SourceError);
  }
  await source.close();
});

test("a file that shrinks while it is open ends in an error, not in zeros", async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "f"), new Uint8Array(100).fill(7));
  const source = (await fileFolder(folder).open("f"))!;
  truncateSync(join(folder, "f"), 40);
  expect(await failure(source.read(0, 100))).toMatchObject({
    code: "source",
    message: expect.stringMatching(/ends at byte 40/),
  });
  expect(await source.read(30, 10)).toEqual(new Uint8Array(10).fill(7));
  await source.close();
});

test("reading a closed file ends in a SourceError, closing it twice in nothing", async () => {
  const source = (await fileFolder(STORIES).open("config.json"))!;
  await source.close();
  await source.close();
  expect(await failure(source.read(0, 1))).toBeInstanceOf(SourceError);
});

test("an absent file is undefined, a folder in its place an error", async () => {
  const folder = temporaryFolder();
  mkdirSync(join(folder, "config.json"));
  writeFileSync(join(folder, "plain"), "");
  expect(await fileFolder(folder).open("absent")).toBeUndefined();
  expect(await fileFolder(folder).open("plain/inside")).toBeUndefined();
  expect(await failure(fileFolder(folder).open("config.json"))).toMatchObject({ code: "source" });
  symlinkSync("loop", join(folder, "loop"));
  expect(await failure(fileFolder(folder).open("loop"))).toMatchObject({ code: "source", message: /ELOOP/ });
});

test("an absent directory, or a file in its place, is a SourceError that says what to do", () => {
  expect(() => fileFolder("/nowhere/at/all")).toThrow(SourceError);
  expect(() => fileFolder("/nowhere/at/all")).toThrow(/\/nowhere\/at\/all: no such folder: name the folder/);
  expect(() => fileFolder(WEIGHTS.replace(/[^/]*$/, "config.json"))).toThrow(/is a file, not the folder of a model/);
});

test("an abort ends with the signal's reason", async () => {
  const reason = new Error("enough");
  const aborted = AbortSignal.abort(reason);
  expect(await failure(fileFolder(STORIES).open("config.json", aborted))).toBe(reason);
  const source = (await fileFolder(STORIES).open("config.json"))!;
  expect(await failure(source.read(0, 4, aborted))).toBe(reason);
  await source.close();
});
