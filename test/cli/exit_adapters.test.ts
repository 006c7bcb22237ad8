/** `layerleap calibrate` and `layerleap exits`, and what is fitted, in use. */

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { goldenCase } from "../golden.ts";
import { layerleap } from "./command.ts";

const folder = mkdtempSync(join(tmpdir(), "layerleap-adapters-"));
afterAll(() => rmSync(folder, { recursive: true }));

const text = join(folder, "text.txt");
writeFileSync(text, Array(6).fill(goldenCase("once").text_out).join("\n"));

test("calibrate writes an adapter and says what it promises; exits and generate take it", async () => {
  const out = join(folder, "fitted.safetensors");
  const fitted = await layerleap([
    "calibrate",
    "--text",
    text,
    "--max-tokens",
    "600",
    "--exit-layer",
    "2",
    "--out",
    out,
  ]);
  expect(fitted.code).toBe(0);
  expect(fitted.stdout).toMatch(
    /^exit of 5 {4}alone {2}with map {2}promises\n\* {4}2 {5}0\.\d\d {6}0\.\d\d {4}\d\.\d\dx\n$/,
  );
  expect(fitted.stderr).toMatch(
    /fitted\.safetensors: 1\d\.\d KiB, exit layer 2 of 5, fitted on \d+ tokens and tried on 120 others/,
  );

  const exits = await layerleap(["exits", "--text", text, "--max-tokens", "100", "--exit-adapter", out, "--json"]);
  expect(exits.code).toBe(0);
  const told = JSON.parse(exits.stdout);
  expect(told.positions).toBe(100);
  expect(told.exits.map(({ exit_layer }: { exit_layer: number }) => exit_layer)).toEqual([1, 2, 3, 4]);
  const shares = told.exits.map(({ agreement }: { agreement: number }) => agreement);
  expect(shares).toEqual(shares.toSorted((a: number, b: number) => a - b));
  expect(told.adapter.exit_layer).toBe(2);
  expect(told.adapter.agreement).toBeGreaterThan(0.3);

  const { greedy, text: prompt } = goldenCase("once");
  const args = ["generate", prompt, "--max-tokens", "40", "--json", "--exit-adapter", out];
  for (const drafting of [
    [],
    ["--drafter", "adapter", "--draft-length", "3"],
    ["--draft-length", "2", "--tree-size", "3"],
  ]) {
    const run = await layerleap([...args, ...drafting]);
    const { ids, stats } = JSON.parse(run.stdout);
    expect(ids).toEqual(greedy.slice(0, 40));
    if (drafting.length > 0) expect(stats.plans[0].drafter).toBe("adapter");
  }
});

test("exits without --json draws a bar for each exit", async () => {
  const { code, stdout, stderr } = await layerleap(["exits", "--max-tokens", "64", "--exit-layers", "1,4"]);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^ {8}exit 1 {2}0\.\d\d {2}=+\n {8}exit 4 {2}[01]\.\d\d {2}=+\n$/);
  expect(stderr).toBe("64 positions of a text of its own\n");
});

describe("what does not work says so, and leaves no file", () => {
  const out = join(folder, "none.safetensors");
  test.each<[string, string[], RegExp]>([
    [
      "too little text",
      ["--text", join(folder, "short.txt")],
      /calibrate: text: found \d tokens, expected at least 128/,
    ],
    ["no text", ["--text", join(folder, "absent.txt")], /--text .*absent\.txt: there is no file /],
    [
      "a folder that there is not",
      ["--text", text, "--out", join(folder, "absent/a.safetensors")],
      /--out .*: there is no folder /,
    ],
    [
      "a layer that there is not",
      ["--text", text, "--exit-layer", "5"],
      /--exit-layer: found 5, expected an integer from 1 to 4/,
    ],
  ])("%s", async (_, args, line) => {
    writeFileSync(join(folder, "short.txt"), "Once upon");
    const run = await layerleap(["calibrate", "--out", out, ...args]);
    expect(run.code).not.toBe(0);
    expect(run.stdout).toBe("");
    expect(run.stderr).toMatch(line);
    expect(existsSync(out)).toBe(false);
  });

  test("an adapter that is damaged", async () => {
    const damaged = join(folder, "damaged.safetensors");
    writeFileSync(damaged, "not a file of tensors");
    const run = await layerleap(["generate", "Once", "--exit-adapter", damaged]);
    expect(run).toMatchObject({ code: 1, stdout: "" });
    expect(run.stderr).toMatch(/damaged\.safetensors: header length: found /);
    expect(readFileSync(damaged, "utf8")).toBe("not a file of tensors");
  });
});
