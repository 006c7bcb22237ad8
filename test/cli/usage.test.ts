/** Help, and what a wrong call gets: one line that says what to do and the exit code. None of it needs a GPU. */

import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONTROLLER_NAMES } from "../../src/decode/controllers/registry.ts";
import { SLOW } from "../slow.ts";
import { layerleap, MODEL, ROOT, type Run } from "./command.ts";

const CONTROLLERS = CONTROLLER_NAMES.join(", ");

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "layerleap-test-"));
});

afterAll(() => rm(folder, { recursive: true }));

/** Nothing on stdout, one line on stderr, no stack trace. */
function expectOneLine(run: Run, code: number, line: RegExp): void {
  expect(run).toMatchObject({ code, stdout: "" });
  expect(run.stderr).toMatch(/^layerleap: [^\n]+\n$/);
  expect(run.stderr).toMatch(line);
}

test.each([[], ["generate"], ["score"], ["inspect"]])(
  "--help of %s explains options with examples",
  async (...command) => {
    const run = await layerleap([...command, "--help"]);
    expect(run).toMatchObject({ code: 0, stderr: "" });
    expect(run.stdout).toContain(`Usage: layerleap ${command.join(" ")}`);
    expect(run.stdout).toMatch(/Examples?:\n {2}layerleap /);
  },
);

test("--version is the package's", async () => {
  const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as { version: string };
  expect(await layerleap(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
});

test("a call without a command shows the help and fails", async () => {
  const run = await layerleap([]);
  expect(run).toMatchObject({ code: 2, stdout: "" });
  expect(run.stderr).toContain("Usage: layerleap");
});

describe("a wrong call ends with exit code 2 and one line", () => {
  test.each<[string, string[], RegExp]>([
    ["unknown command", ["generat", "x"], /unknown command 'generat'.*generate/],
    ["unknown option", ["generate", "x", "--exit-layr", "2"], /unknown option '--exit-layr'.*--exit-layer/],
    ["neither prompt nor ids", ["generate"], /PROMPT or --ids/],
    ["both prompt and ids", ["generate", "x", "--ids", "1"], /PROMPT and --ids exclude each other/],
    ["a chat of ids", ["generate", "--ids", "1", "--chat"], /--ids are taken as they are.*--chat/],
    ["a system message for ids", ["generate", "--ids", "1", "--system", ""], /--ids are taken as they are.*--system/],
    ["two prompts", ["generate", "Once", "upon"], /too many arguments/],
    ["ids with a gap", ["generate", "--ids", "1,,2"], /--ids.*1,,2.*as in 1,2,3/],
    ["ids that are no numbers", ["score", "--ids", "one"], /--ids.*one/],
    ["a negative id", ["score", "--ids", "-1"], /--ids.*-1/],
    ["no ids to score", ["score"], /--ids/],
    ["positions that are no numbers", ["score", "--ids", "1", "--at", "0.5"], /--at.*0\.5/],
    ["no tokens wanted", ["generate", "x", "--max-tokens", "0"], /--max-tokens.*above 0/],
    ["a number with a unit", ["generate", "x", "--max-tokens", "10k"], /--max-tokens.*10k/],
    ["exit layer 0", ["generate", "x", "--exit-layer", "0"], /--exit-layer.*above 0/],
    ["a draft length that is no number", ["generate", "x", "--draft-length", "many"], /--draft-length.*many/],
    ["an unknown drafter", ["generate", "x", "--drafter", "medusa"], /--drafter.*medusa.*auto, none, layerskip/],
    ["a drafter that is a model without a name", ["generate", "x", "--drafter", "model:"], /--drafter.*model:SOURCE/],
    ["a tree beside auto", ["generate", "x", "--drafter", "auto", "--tree-size", "7"], /--tree-size is for/],
    ["a tree of no rows", ["generate", "x", "--tree-size", "0"], /--tree-size.*above 0/],
    ["an unknown drafter to be compared", ["bench", "drafters", "--drafters", "medusa"], /--drafters.*medusa.*lookup/],
    ["an unknown controller", ["generate", "x", "--controller", "pid"], RegExp(`--controller.*pid.*${CONTROLLERS}`)],
    [
      "a controller without drafts",
      ["generate", "x", "--drafter", "none", "--controller", "del"],
      /--controller is for/,
    ],
    ["a controller beside auto", ["generate", "x", "--drafter", "auto", "--controller", "del"], /--controller is for/],
    ["an unknown rule", ["generate", "x", "--accept-rule", "all"], /--accept-rule.*all.*invariant, ratio/],
    ["a temperature that is no number", ["generate", "x", "--temperature", "hot"], /--temperature.*hot.*a number/],
    ["a number left empty", ["generate", "x", "--top-p", ""], /--top-p.*a number/],
    ["a half token", ["generate", "x", "--top-k", "1.5"], /--top-k.*1\.5.*whole number/],
    ["a negative seed", ["generate", "x", "--seed", "-1"], /--seed.*-1.*whole number/],
    ["a bias without its id", ["generate", "x", "--logit-bias", "=1"], /--logit-bias.*=1.*as in 261=-1\.5/],
    ["a bias that is no number", ["generate", "x", "--logit-bias", "5=inf"], /--logit-bias.*5=inf/],
    ["a time limit with a unit", ["generate", "x", "--time-limit", "10s"], /--time-limit.*10s.*seconds/],
    ["a negative time limit", ["generate", "x", "--time-limit", "-1"], /--time-limit.*-1.*seconds/],
    ["log probabilities of a text", ["generate", "x", "--logprobs"], /--logprobs.*--json/],
    ["likely tokens of a text", ["generate", "x", "--top-logprobs", "2"], /--top-logprobs.*--json/],
    ["an unknown dtype", ["generate", "x", "--dtype", "q5"], /--dtype.*q5.*f32, f16, q8, q4/],
    ["a measurement without a type", ["bench", "kernels", "--dtype", "auto"], /--dtype.*auto.* f32, f16, q8, q4/],
    ["an option without its value", ["generate", "x", "--model"], /--model/],
    ["a type for what is not loaded", ["inspect", "--dtype", "q4"], /--dtype.*--load/],
    ["kernels for what is not loaded", ["inspect", "--kernels", "kv=f16"], /--kernels.*--load/],
  ])("%s", async (_name, args, line) => {
    expectOneLine(await layerleap(args), 2, line);
  });
});

test("a wrong call does not unpack a GPU driver first", async () => {
  const empty = join(folder, "empty");
  await mkdir(empty);
  await layerleap(["generate", "x", "--bogus"], { env: { TMPDIR: empty, LAYERLEAP_ADAPTER: "software" } });
  await layerleap(["generate", "--help"], { env: { TMPDIR: empty, LAYERLEAP_ADAPTER: "software" } });
  expect(await readdir(empty)).toEqual([]);
});

describe("a value that the model cannot take ends with exit code 2 and names the option", () => {
  // Most load the model, each in a process of its own.
  const values: [string, string[], RegExp][] = [
    ["an id beyond the vocabulary", ["generate", "--ids", "1,512"], /--ids, element 1: found 512, expected .* 511/],
    ["an id to score beyond the vocabulary", ["score", "--ids", "600"], /--ids, element 0: found 600/],
    ["an exit layer beyond the model", ["generate", "x", "--exit-layer", "5"], /--exit-layer: found 5, expected .* 4/],
    ["a context beyond the model", ["generate", "x", "--context-length", "513"], /--context-length: found 513, .*512/],
    ["an exit layer to score beyond the model", ["score", "--ids", "1", "--exit-layer", "6"], /--exit-layer: found 6/],
    ["a temperature beyond the limit", ["generate", "x", "--temperature", "101"], /--temperature: found 101, .* 100$/m],
    ["a draft length beyond the limit", ["generate", "x", "--draft-length", "99"], /--draft-length: found 99/],
    ["a position beyond the ids", ["score", "--ids", "1,2", "--at", "2"], /--at: found 2, expected .* 1/],
    ["a hub that is no URL", ["score", "--ids", "1", "--model", "hf:a/b", "--endpoint", "x"], /--endpoint: found x, /],
    ["a chat without a template", ["generate", "x", "--chat"], /--chat: found messages, but .* has no chat template/],
    ["a prompt that fills the context", ["generate", "--ids", Array(512).fill(1).join()], /512 tokens/],
  ];
  test.each(SLOW ? values : values.slice(0, 4))("%s", async (_name, args, line) => {
    expectOneLine(await layerleap(args), 2, line);
  });
});

test("a trace that cannot be written ends with exit code 1 before the model is loaded", async () => {
  const trace = join(folder, "none", "trace.jsonl");
  // A folder without a model: loading it would fail too.
  const run = await layerleap(["generate", "x", "--model", folder, "--trace", trace]);
  expectOneLine(run, 1, /--trace .*trace\.jsonl: .*no such file or directory/);
});

describe("a model that cannot be loaded ends with exit code 1 and one line", () => {
  test("no such folder", async () => {
    expectOneLine(
      await layerleap(["generate", "x", "--model", join(folder, "none")]),
      1,
      /none: there is no folder \/.*: check the path/,
    );
  });

  test("a name of the hub without what tells it from a folder", async () => {
    const line = /--model a\/b: there is no folder .*: check the path, or write hf:a\/b for/;
    expectOneLine(await layerleap(["score", "--ids", "1", "--model", "a/b"]), 1, line);
    expectOneLine(
      await layerleap(["inspect", "--model", "./b.gguf"]),
      1,
      /there is no file .*b\.gguf: check the path$/m,
    );
  });

  test("a file in place of a folder", async () => {
    expectOneLine(
      await layerleap(["inspect", "--model", join(MODEL, "config.json")]),
      1,
      /config\.json: this is a file/,
    );
  });

  test("a folder without a model", async () => {
    const model = join(folder, "without");
    await mkdir(model);
    expectOneLine(await layerleap(["score", "--ids", "1", "--model", model]), 1, /config\.json/);
  });

  test("a config.json that is no JSON", async () => {
    const model = join(folder, "damaged");
    await mkdir(model);
    await writeFile(join(model, "config.json"), "{");
    expectOneLine(await layerleap(["generate", "x", "--model", model, "--json"]), 1, /config\.json/);
  });
});

test("where @sparticuz/chromium is not installed, help works and the error says what to install", async () => {
  const bare = join(folder, "bare");
  await cp(join(ROOT, "dist/node"), join(bare, "dist/node"), { recursive: true });
  await cp(join(ROOT, "package.json"), join(bare, "package.json"));
  const command = join(bare, "dist/node/layerleap.js");
  expect((await layerleap(["--help"], { command })).code).toBe(0);
  const run = await layerleap(["generate", "x"], { command, env: { LAYERLEAP_ADAPTER: "software" } });
  expectOneLine(run, 1, /npm install @sparticuz\/chromium/);
});

test("where there is no GPU, inspect says what a model is all the same", async () => {
  const bare = join(folder, "without-gpu");
  await cp(join(ROOT, "dist/node"), join(bare, "dist/node"), { recursive: true });
  await cp(join(ROOT, "package.json"), join(bare, "package.json"));
  await mkdir(join(bare, "node_modules"));
  await symlink(join(ROOT, "node_modules/@huggingface"), join(bare, "node_modules/@huggingface"), "junction");
  const options = { command: join(bare, "dist/node/layerleap.js"), env: { LAYERLEAP_ADAPTER: "" } };
  const run = await layerleap(["inspect", "--model", MODEL], options);
  expect(run).toMatchObject({ code: 0, stderr: "" });
  expect(run.stdout).toMatch(/^ {2}supported +yes$[\s\S]*^ {2}f32 +1\.6 MiB$[\s\S]*^ {2}adapter +none found/m);
  const json = JSON.parse((await layerleap(["inspect", "--model", MODEL, "--json"], options)).stdout);
  expect(json).toMatchObject({ check: { supported: true }, device: null });
  expect(json.check, "nothing is known of its memory").not.toHaveProperty("recommended_dtype");
  expect(json.check.memory).not.toHaveProperty("available_bytes");
  expectOneLine(await layerleap(["generate", "x", "--model", MODEL], options), 1, /./);
});

test("LAYERLEAP_DEBUG=1 adds where the error came from", async () => {
  const run = await layerleap(["generate", "x", "--model", join(folder, "none")], { env: { LAYERLEAP_DEBUG: "1" } });
  expect(run.code).toBe(1);
  expect(run.stderr).toMatch(/^layerleap: .*\n(.*\n)*? {4}at /);
});
