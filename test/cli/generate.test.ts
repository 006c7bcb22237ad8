/** `layerleap generate` on the embedded model, against ids, text and rounds of an independent implementation. */

import { spawn } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { goldenCase } from "../golden.ts";
import { SLOW } from "../slow.ts";
import { layerleap, MODEL, ROOT, type Run, userEnvironment } from "./command.ts";

interface Load {
  seconds: number;
  phase_seconds: Record<string, number>;
  fetched_bytes: number;
  cached_bytes: number;
  host_peak_bytes: number;
}

interface Output {
  prompt_ids: number[];
  ids: number[];
  text: string;
  finish_reason: string;
  rounds: { drafted: number; accepted: number }[];
  stats: Record<string, number> & { load: Load };
  device: { vendor: string; architecture: string; backend: string; features: string[]; software: boolean };
  dtype: string;
}

function parsed(run: Run): Output {
  expect(run).toMatchObject({ code: 0, stderr: "" });
  return JSON.parse(run.stdout) as Output;
}

describe("--json", () => {
  test("holds one object with the keys that scripts rely on", async () => {
    const output = parsed(await layerleap(["generate", "Once upon a time", "--max-tokens", "8", "--json"]));
    const keys = [
      "prompt_ids",
      "ids",
      "text",
      "finish_reason",
      "rounds",
      "stats",
      "device",
      "dtype",
      "kernels",
      "warnings",
    ];
    expect(Object.keys(output)).toEqual(keys);
    expect(Object.keys(output.stats).slice(0, 12)).toEqual([
      "tokens",
      "prefill_ms",
      "decode_ms",
      "tokens_per_second",
      "drafted",
      "accepted",
      "acceptance_rate",
      "submits",
      "readbacks",
      "dispatches",
      "pipelines",
      "compile_ms",
    ]);
    const { load, plans, prices, ...stats } = output.stats;
    expect([Array.isArray(plans), Array.isArray(prices)]).toEqual([true, true]);
    expect(Object.values(stats).every(Number.isFinite)).toBe(true);
    expect(load).toMatchObject({ fetched_bytes: 0, cached_bytes: 0 });
    expect(Object.keys(load.phase_seconds)).toEqual(["download", "read", "upload", "compile"]);
    const phases = Object.values(load.phase_seconds).reduce((sum, seconds) => sum + seconds, 0);
    expect(load.seconds).toBeGreaterThan(0);
    expect(load.seconds / phases).toBeCloseTo(1, 1);
    expect(load.host_peak_bytes).toBeGreaterThan(1_040_128);
    expect(Object.keys(output.device).slice(0, 4)).toEqual(["vendor", "architecture", "backend", "features"]);
    expect(output.device.features).toBeInstanceOf(Array);
  });

  // test/decode/golden.test.ts has all cases in one process.
  test.each(SLOW ? ["once", "dialogue", "one-token", "long"] : ["once"])(
    "plain decoding of '%s' gives the reference's ids",
    async (name) => {
      const golden = goldenCase(name);
      const { prompt, greedy } = golden;
      const args = ["--ids", prompt.join(), "--max-tokens", String(greedy.length), "--drafter", "none", "--json"];
      const output = parsed(await layerleap(["generate", ...args]));
      expect(output).toMatchObject({ prompt_ids: prompt, ids: greedy, finish_reason: golden.finish_reason });
      expect(output.text).toBe(golden.text_out);
      expect(output.stats).toMatchObject({ tokens: greedy.length, drafted: 0, accepted: 0, acceptance_rate: 0 });
    },
  );

  const drafted: [name: string, exit: number, length: number][] = [
    ["dialogue", 4, 8],
    ["once", 2, 4],
    ["long", 1, 1],
  ];
  test.each(SLOW ? drafted : drafted.slice(0, 1))(
    "LayerSkip on '%s' from exit %i with %i drafts gives the same ids, and the reference's rounds",
    async (name, exit, length) => {
      const { prompt, greedy, rounds } = goldenCase(name);
      const drafting = ["--exit-layer", String(exit), "--draft-length", String(length)];
      const args = ["--ids", prompt.join(), "--max-tokens", String(greedy.length), ...drafting, "--json"];
      const output = parsed(await layerleap(["generate", ...args]));
      expect(output.ids).toEqual(greedy);
      const accepted = rounds[exit]![length]!;
      expect(output.rounds.slice(0, accepted.length).map((round) => round.accepted)).toEqual(accepted);
      expect(output.stats.drafted).toBe(output.rounds.reduce((sum, round) => sum + round.drafted, 0));
      expect(output.stats.accepted).toBe(output.rounds.reduce((sum, round) => sum + round.accepted, 0));
    },
  );

  test.each(SLOW ? ["f16", "q8", "q4"] : ["q4"])(
    "--dtype %s is what the weights are held in, with and without drafts",
    async (dtype) => {
      const args = ["generate", "Once upon a time", "--max-tokens", "24", "--dtype", dtype, "--json"];
      const plain = parsed(await layerleap([...args, "--drafter", "none"]));
      const drafted = parsed(await layerleap([...args, "--drafter", "layerskip"]));
      expect([plain.dtype, plain.ids.length]).toEqual([dtype, 24]);
      expect(drafted.ids).toEqual(plain.ids);
      expect(drafted.stats.drafted).toBeGreaterThan(0);
    },
  );

  test("a PROMPT becomes the reference's ids, and --model finds the same model as none", async () => {
    const { text, prompt } = goldenCase("dialogue");
    const args = ["generate", text, "--max-tokens", "2", "--json"];
    const [embedded, named] = [await layerleap(args), await layerleap([...args, "--model", MODEL])].map(parsed);
    expect(embedded!.prompt_ids).toEqual(prompt);
    expect(named!.ids).toEqual(embedded!.ids);
  });

  test("--ignore-eos goes on past the end", async () => {
    const { prompt, greedy } = goldenCase("long");
    const more = greedy.length + 5;
    const args = ["--ids", prompt.join(), "--max-tokens", String(more), "--ignore-eos", "--json"];
    const output = parsed(await layerleap(["generate", ...args]));
    expect(output.ids).toHaveLength(more);
    expect(output.ids.slice(0, greedy.length)).toEqual(greedy);
    expect(output.finish_reason).toBe("length");
  });
});

describe("--chat and --system", () => {
  const template =
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
  let model: string;

  beforeAll(async () => {
    model = await mkdtemp(join(tmpdir(), "layerleap-test-"));
    await cp(MODEL, model, { recursive: true });
    await writeFile(join(model, "chat_template.jinja"), template);
  });

  afterAll(() => rm(model, { recursive: true }));

  const ids = async (...args: string[]) =>
    parsed(await layerleap(["generate", ...args, "--model", model, "--max-tokens", "2", "--json"])).prompt_ids;

  test("put the model's template around the prompt, and no second BOS", async () => {
    expect(await ids("Hi", "--chat")).toEqual(await ids("user: Hi assistant:"));
    const both = await ids("system: Be kind. user: Hi assistant:");
    expect(await ids("Hi", "--system", "Be kind.")).toEqual(both);
    expect(await ids("Hi", "--chat", "--system", "Be kind.")).toEqual(both);
  });

  test("the answer begins on its own", async () => {
    const args = ["generate", "Hi", "--chat", "--model", model, "--max-tokens", "8"];
    const { text } = parsed(await layerleap([...args, "--json"]));
    expect((await layerleap(args)).stdout).toBe(`${text}\n`);
  });
});

describe("without --json", () => {
  test("the text goes to stdout and a summary of one line to stderr", async () => {
    const { text, text_out, greedy } = goldenCase("long");
    const run = await layerleap(["generate", text]);
    expect(run.code).toBe(0);
    // The stream continues the prompt, space included; text_out was decoded on its own.
    expect(run.stdout).toBe(` ${text_out}\n`);
    expect(run.stderr).toMatch(new RegExp(`^${greedy.length} tokens in [^\\n]* tok/s [^\\n]* rounds [^\\n]*\\n$`));
    // No colours where no terminal reads them.
    expect(run.stderr).not.toContain("\x1b");
  });

  test("on a software adapter the summary says that its speed means little", async () => {
    const args = ["generate", "Once", "--max-tokens", "4"];
    const { device } = parsed(await layerleap([...args, "--json"]));
    const { stderr } = await layerleap(args);
    expect(stderr.includes("its speed means little")).toBe(device.software);
  });

  test("- reads the prompt from stdin and leaves out the line end", async () => {
    const { text, prompt } = goldenCase("once");
    const args = ["generate", "-", "--max-tokens", "1", "--json"];
    const output = parsed(await layerleap(args, { stdin: `${text}\n` }));
    expect(output.prompt_ids).toEqual(prompt);
  });

  test("a reader that leaves ends it without a word", async () => {
    const run = await untilReaderLeaves(["generate", "Once upon a time", "--max-tokens", "400", "--ignore-eos"]);
    expect(run).toEqual({ code: 0, stderr: "" });
  });
});

describe.skipIf(process.platform === "win32")("an interrupt", () => {
  const LONG = ["generate", "Once upon a time", "--max-tokens", "500", "--ignore-eos", "--drafter", "none"];

  test("keeps the text and the trace there are and ends with 130", async () => {
    const folder = await mkdtemp(join(tmpdir(), "layerleap-test-"));
    const trace = join(folder, "trace.jsonl");
    let sent = false;
    const run = await layerleap([...LONG, "--trace", trace], {
      onStdout: (child) => {
        if (!sent) sent = child.kill("SIGINT");
      },
    });
    expect(run.code).toBe(130);
    expect(run.stdout).toMatch(/^, there.*\n$/);
    expect(run.stderr).toMatch(/^stopped \| \d+ tokens/);
    const [, rounds] = /no drafts, (\d+) rounds/.exec(run.stderr)!;
    const lines = (await readFile(trace, "utf8")).split("\n");
    await rm(folder, { recursive: true });
    expect(lines.pop()).toBe("");
    expect(lines.slice(1).map((line) => JSON.parse(line).round)).toEqual(Array.from({ length: +rounds! }, (_, i) => i));
  });

  test("SIGTERM ends it with 143", async () => {
    let sent = false;
    const run = await layerleap(LONG, {
      onStdout: (child) => {
        if (!sent) sent = child.kill("SIGTERM");
      },
    });
    expect(run.code).toBe(143);
  });
});

test("two first runs at once on a machine without a driver both work", async () => {
  const TMPDIR = await mkdtemp(join(tmpdir(), "layerleap-test-"));
  try {
    const run = () => layerleap(["generate", "Once upon a time", "--max-tokens", "4", "--json"], { env: { TMPDIR } });
    const outputs = (await Promise.all([run(), run()])).map(parsed);
    for (const output of outputs) expect(output.ids).toEqual(goldenCase("once").greedy.slice(0, 4));
  } finally {
    await rm(TMPDIR, { recursive: true });
  }
});

/** Closes stdout after the first chunk, as `head` does. */
function untilReaderLeaves(args: string[]): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [join(ROOT, "dist/node/layerleap.js"), ...args], {
    env: userEnvironment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  child.stdout.once("data", () => child.stdout.destroy());
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
    stderr += chunk;
  });
  return new Promise((resolve) => child.once("close", (code) => resolve({ code, stderr })));
}
