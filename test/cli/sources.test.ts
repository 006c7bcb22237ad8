/** `--model` of what is not the embedded model: on a hub, on a web server, in one GGUF file. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { goldenCase } from "../golden.ts";
import { convert } from "../reference/gguf_model.ts";
import { numbers, texts, u32, type Value, type WrittenTensor, writeGguf } from "../reference/gguf_writer.ts";
import { SLOW } from "../slow.ts";
import { sentencePieceMetadata } from "../text/gguf_metadata.ts";
import { storiesJson } from "../text/sentencepiece_tokenizers.ts";
import { temporaryFolder } from "../weights/model_folder.ts";
import { layerleap, MODEL, type Run } from "./command.ts";
import { hub, NAME, stall } from "./hub.ts";

const GOLDEN = goldenCase("once");
const TOKENS = 8;
const GENERATE = ["generate", GOLDEN.text, "--max-tokens", String(TOKENS), "--json"];

interface Output {
  prompt_ids: number[];
  ids: number[];
  dtype: string;
  stats: { load: { fetched_bytes: number; cached_bytes: number } };
}

/** The output of a run that gave the golden ids of the golden prompt. */
function golden(run: Run): Output {
  expect(run).toMatchObject({ code: 0, stderr: "" });
  const output = JSON.parse(run.stdout) as Output;
  expect(output.prompt_ids).toEqual(GOLDEN.prompt);
  expect(output.ids).toEqual(GOLDEN.greedy.slice(0, TOKENS));
  return output;
}

test("a model on a hub is fetched once, with the token, and then runs without it", async () => {
  const { server, env } = await hub();
  const { HF_ENDPOINT, ...others } = env;
  const args = [...GENERATE, "--model", NAME, "--endpoint", HF_ENDPOINT];
  const first = golden(await layerleap(args, { env: others })).stats.load;
  expect(first).toMatchObject({ fetched_bytes: server.sent, cached_bytes: 0 });
  expect(first.fetched_bytes).toBeGreaterThan(1_040_128);
  expect(server.asked.find(({ at }) => at === "hub")?.authorization).toBe("Bearer hf_secret");

  await server.stop();
  const second = golden(await layerleap(args, { env: others })).stats.load;
  expect(second).toMatchObject({ fetched_bytes: 0, cached_bytes: first.fetched_bytes });
});

test.runIf(SLOW)("score takes a model from a hub too", async () => {
  const { env } = await hub();
  const { HF_ENDPOINT, ...others } = env;
  const args = ["score", "--ids", GOLDEN.prompt.join(), "--at", "2", "--json"];
  const remote = await layerleap([...args, "--model", NAME, "--endpoint", HF_ENDPOINT], { env: others });
  const embedded = await layerleap(args);
  expect(remote).toEqual({ ...embedded, code: 0, stderr: "" });
});

test("a model at a URL", async () => {
  const { server, env } = await hub();
  const folder = `${server.endpoint}/owner/name/resolve/${server.commit}/`;
  golden(await layerleap([...GENERATE, "--model", folder], { env: { ...env, HF_ENDPOINT: "http://hub.invalid" } }));
});

test("a model that no hub has is one line", async () => {
  const { env } = await hub();
  const run = await layerleap([...GENERATE, "--model", "hf:owner/absent"], { env });
  expect(run).toMatchObject({ code: 1, stdout: "" });
  expect(run.stderr).toMatch(/^layerleap: .*there is no owner\/absent.*\n$/);
  expect(run.stderr).not.toContain("LAYERLEAP_DEBUG");
});

test.skipIf(process.platform === "win32")("Ctrl-C ends a load that waits for its files", async () => {
  const { server, env } = await hub();
  stall(server);
  const run = await layerleap(["score", "--ids", "1", "--model", NAME], {
    env,
    onStart: (child) => {
      const timer = setInterval(() => {
        if (!server.asked.some(({ at }) => at === "cdn")) return;
        clearInterval(timer);
        child.kill("SIGINT");
      }, 20);
    },
  });
  expect(run).toEqual({ code: 130, stdout: "", stderr: "" });
});

test("a GGUF file of floats gives the same ids", async () => {
  const { dtype } = golden(await layerleap([...GENERATE, "--model", ggufFile()]));
  expect(dtype).toBe("f32");
});

test("a GGUF file of blocks is held as stored, unless a dtype is asked for", async () => {
  const model = ggufFile(q8);
  for (const [asked, held] of [
    ["auto", "stored"],
    ["q8", "q8"],
  ] as const) {
    const { code, stdout } = await layerleap([...GENERATE, "--model", model, "--dtype", asked]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ dtype: held, prompt_ids: GOLDEN.prompt });
  }
  const { stdout } = await layerleap(["inspect", "--model", model, "--json"]);
  const { check } = JSON.parse(stdout);
  expect(check).toMatchObject({ supported: true, family: "llama", recommended_dtype: "stored" });
  expect(Object.keys(check.memory.needed_bytes)).toEqual(["f32", "f16", "q8", "q4", "stored"]);
});

/** The embedded model as one GGUF file. */
function ggufFile(edit = (tensor: WrittenTensor) => tensor): string {
  const { metadata, tensors } = convert(MODEL);
  const text = [...sentencePieceMetadata(storiesJson())].map(([key, value]): [string, Value] => [key, written(value)]);
  const special = ["bos", "eos"].map((name): [string, Value] => [`tokenizer.ggml.${name}_token_id`, u32(1)]);
  const path = join(temporaryFolder(), "stories.gguf");
  writeFileSync(path, writeGguf({ metadata: [...metadata, ...text, ...special], tensors: tensors.map(edit) }));
  return path;
}

function written(value: unknown): Value {
  if (value instanceof Float32Array) return numbers("f32", [...value]);
  if (value instanceof Int32Array) return numbers("i32", [...value]);
  return Array.isArray(value) ? texts(value) : String(value);
}

/** A matrix in Q8_0 where its rows are whole blocks: 32 codes behind a scale, here a power of two. */
function q8(tensor: WrittenTensor): WrittenTensor {
  if (tensor.shape.length < 2 || Number(tensor.shape.at(-1)) % 32 > 0) return tensor;
  const values = new Float32Array(Uint8Array.from(tensor.bytes).buffer);
  const bytes = new Uint8Array((values.length / 32) * 34);
  for (let block = 0; block < values.length / 32; block++) {
    const numbers = values.subarray(32 * block, 32 * (block + 1));
    const largest = Math.max(...numbers.map(Math.abs));
    const exponent = Math.max(-14, Math.ceil(Math.log2(largest / 127)));
    new DataView(bytes.buffer).setUint16(34 * block, (exponent + 15) << 10, true);
    bytes.set(
      Int8Array.from(numbers, (number) => Math.round(number / 2 ** exponent)),
      34 * block + 2,
    );
  }
  return { ...tensor, dtype: "Q8_0", bytes };
}
