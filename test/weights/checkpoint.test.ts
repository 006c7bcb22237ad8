import { readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { FileFormatError, LayerLeapError, SourceError, UnsupportedModelError } from "../../src/errors.ts";
import { fileFolder } from "../../src/sources/file_folder.ts";
import { type Checkpoint, openCheckpoint } from "../../src/weights/checkpoint.ts";
import {
  copyOf,
  counting,
  editJson,
  editSafetensors,
  failure,
  type Json,
  LLAMA,
  removeTensor,
  SHARDED,
  STORIES,
  seeded,
  takeApart,
  temporaryFolder,
} from "./model_folder.ts";

const INDEX = "model.safetensors.index.json";
const SHARD_1 = "model-00001-of-00002.safetensors";
const SHARD_2 = "model-00002-of-00002.safetensors";

/** What opening the folder fails with. Nothing may stay open. */
async function refusal(folder: string): Promise<LayerLeapError> {
  const counted = counting(fileFolder(folder));
  const error = await failure(openCheckpoint(counted));
  expect(error, String(error)).toBeInstanceOf(LayerLeapError);
  expect(counted.opened(), "files left open").toBe(0);
  return error as LayerLeapError;
}

describe("sound checkpoints", () => {
  test.each([
    ["one file, tied head", STORIES, 5, 1],
    ["one file, a head of its own", LLAMA, 4, 1],
    ["shards in bf16", SHARDED, 4, 2],
  ])("%s: every tensor's bytes are those of the file", async (_, folder, layers, files) => {
    const counted = counting(fileFolder(folder));
    const checkpoint = await openCheckpoint(counted);
    expect(counted.opened()).toBe(files);
    expect(checkpoint.name).toBe(folder);
    expect(checkpoint.text).toMatchObject({ kind: "files", tokenizerFile: join(folder, "tokenizer.json") });
    expect(checkpoint.spec.layers).toBe(layers);
    expect(checkpoint.tensors.head === undefined).toBe(checkpoint.spec.tieWordEmbeddings);
    const { embedding, finalNorm } = checkpoint.tensors;
    let bytes = 0;
    for (const wanted of [
      embedding,
      finalNorm,
      ...checkpoint.tensors.layers.flatMap((layer) => Object.values(layer)),
    ]) {
      const { source, offset, byteLength, dtype, shape } = checkpoint.tensor(wanted);
      expect(shape).toEqual(wanted.shape);
      expect(byteLength).toBe(shape.reduce((a, b) => a * b, dtype === "F32" ? 4 : 2));
      const { header, data } = takeApart(source.name);
      const [begin, end] = header[wanted.name]!.data_offsets as [number, number];
      expect(Buffer.from(await source.read(offset, byteLength)).equals(data.subarray(begin, end))).toBe(true);
      bytes += byteLength;
    }
    const head = checkpoint.tensors.head && checkpoint.tensor(checkpoint.tensors.head).byteLength;
    expect(checkpoint.weightBytes).toBe(bytes + (head ?? 0));
    expect(checkpoint.weightBytes).toBe(checkpoint.parameters * (folder === SHARDED ? 2 : 4));
    await checkpoint.close();
    await checkpoint.close();
    expect(counted.opened()).toBe(0);
  });

  test("generation_config.json and tokenizer_config.json may be absent", async () => {
    const folder = copyOf(STORIES);
    rmSync(join(folder, "generation_config.json"));
    rmSync(join(folder, "tokenizer_config.json"));
    const checkpoint = await openCheckpoint(fileFolder(folder));
    expect(checkpoint.text).toMatchObject({ tokenizerConfig: {} });
    expect(checkpoint.spec.eosTokenIds).toEqual([1]);
    await checkpoint.close();
  });

  test("a tensor the model does not need may be of any type", async () => {
    const folder = copyOf(STORIES);
    editSafetensors(folder, "model.safetensors", (parts) => {
      const begin = parts.data.length;
      parts.header.extra = { dtype: "I64", shape: [2], data_offsets: [begin, begin + 16] };
      parts.data = Buffer.concat([parts.data, new Uint8Array(16)]);
    });
    const checkpoint = await openCheckpoint(fileFolder(folder));
    const asked = () => checkpoint.tensor({ name: "extra", shape: [2] });
    expect(asked).toThrow(UnsupportedModelError);
    expect(asked).toThrow(/extra\.dtype: found I64/);
    expect(() => checkpoint.tensor({ name: "absent", shape: [2] })).toThrow(FileFormatError);
    await checkpoint.close();
  });
});

describe("missing files", () => {
  test.each(["config.json", "tokenizer.json", "model.safetensors"])(
    "%s: the error names it and the folder",
    async (file) => {
      const folder = copyOf(STORIES);
      rmSync(join(folder, file));
      const error = await refusal(folder);
      expect(error).toBeInstanceOf(SourceError);
      expect(error).toMatchObject({ code: "source", file });
      expect(error.message).toContain(folder);
      expect(error.message).toMatch(/name a folder/);
    },
  );

  test("an empty folder misses config.json first", async () => {
    expect(await refusal(temporaryFolder())).toMatchObject({ code: "source", file: "config.json" });
  });

  test("a shard that the index names", async () => {
    const folder = copyOf(SHARDED);
    rmSync(join(folder, SHARD_2));
    const error = await refusal(folder);
    expect(error).toMatchObject({ code: "source", file: SHARD_2 });
    expect(error.message).toContain(folder);
  });
});

describe("files that contradict each other", () => {
  const NORM = "model.norm.weight";
  const GATE = "model.layers.2.mlp.gate_proj.weight";
  const cases: [string, string, (folder: string) => void, Json][] = [
    [
      "a missing tensor",
      STORIES,
      (folder) => editSafetensors(folder, "model.safetensors", (parts) => removeTensor(parts, NORM)),
      { code: "file-format", file: "model.safetensors", field: NORM, found: "no such tensor" },
    ],
    [
      "a tensor of another shape",
      STORIES,
      (folder) => editSafetensors(folder, "model.safetensors", ({ header }) => (header[GATE]!.shape = [64, 172])),
      { code: "file-format", file: "model.safetensors", field: `${GATE}.shape`, found: "[64, 172]" },
    ],
    [
      "a tensor of another rank",
      STORIES,
      (folder) => editSafetensors(folder, "model.safetensors", ({ header }) => (header[GATE]!.shape = [172, 64, 1])),
      { code: "file-format", file: "model.safetensors", field: `${GATE}.shape`, found: "[172, 64, 1]" },
    ],
    [
      "a scalar in place of a matrix",
      STORIES,
      (folder) =>
        editSafetensors(folder, "model.safetensors", (parts) => {
          removeTensor(parts, GATE);
          const begin = parts.data.length;
          parts.header[GATE] = { dtype: "F32", shape: [], data_offsets: [begin, begin + 4] };
          parts.data = Buffer.concat([parts.data, new Uint8Array(4)]);
        }),
      { code: "file-format", file: "model.safetensors", field: `${GATE}.shape`, found: "[]" },
    ],
    [
      "a config of another size",
      STORIES,
      (folder) => editJson(folder, "config.json", (config) => (config.intermediate_size = 176)),
      { code: "file-format", file: "model.safetensors", field: "model.layers.0.mlp.gate_proj.weight.shape" },
    ],
    [
      "more layers than weights",
      STORIES,
      (folder) => editJson(folder, "config.json", (config) => (config.num_hidden_layers = 6)),
      { code: "file-format", file: "model.safetensors", field: "model.layers.5.input_layernorm.weight" },
    ],
    [
      "an untied head that is not there",
      STORIES,
      (folder) => editJson(folder, "config.json", (config) => (config.tie_word_embeddings = false)),
      { code: "file-format", file: "model.safetensors", field: "lm_head.weight" },
    ],
    [
      "a weight in a type without a loader",
      STORIES,
      (folder) => editSafetensors(folder, "model.safetensors", ({ header }) => (header[GATE]!.dtype = "I32")),
      { code: "unsupported-model", file: "model.safetensors", field: `${GATE}.dtype`, found: "I32" },
    ],
    [
      "a shard without the tensor that the index puts there",
      SHARDED,
      (folder) => editJson(folder, INDEX, ({ weight_map }) => ((weight_map as Json)[NORM] = SHARD_1)),
      { code: "file-format", file: SHARD_1, field: NORM },
    ],
    [
      "an index without a tensor",
      SHARDED,
      (folder) => editJson(folder, INDEX, ({ weight_map }) => delete (weight_map as Json)[NORM]),
      { code: "file-format", file: INDEX, field: NORM },
    ],
    [
      "an index without a map",
      SHARDED,
      (folder) => editJson(folder, INDEX, (index) => delete index.weight_map),
      { code: "file-format", file: INDEX, field: "weight_map" },
    ],
    [
      "an index that reaches out of the folder",
      SHARDED,
      (folder) => editJson(folder, INDEX, ({ weight_map }) => ((weight_map as Json)[NORM] = "../x.safetensors")),
      { code: "file-format", file: INDEX, field: `weight_map.${NORM}`, found: '"../x.safetensors"' },
    ],
    [
      "a truncated shard",
      SHARDED,
      (folder) => truncateSync(join(folder, SHARD_2), 200_000),
      { code: "file-format", file: SHARD_2 },
    ],
    [
      "an end-of-text id beyond the vocabulary",
      STORIES,
      (folder) => editJson(folder, "generation_config.json", (config) => (config.eos_token_id = [1, 512])),
      { code: "file-format", file: "generation_config.json", field: "eos_token_id", found: "[1, 512]" },
    ],
    [
      "an unknown architecture",
      STORIES,
      (folder) => editJson(folder, "config.json", (config) => (config.model_type = "mamba")),
      {
        code: "unsupported-model",
        file: "config.json",
        field: "model_type",
        found: '"mamba"',
        expected: expect.stringMatching(/^one of llama, /),
      },
    ],
    [
      "a config that is a page",
      STORIES,
      (folder) => writeFileSync(join(folder, "config.json"), "<!doctype html><html>"),
      { code: "file-format", file: "config.json", field: "JSON" },
    ],
    [
      "an empty config",
      STORIES,
      (folder) => writeFileSync(join(folder, "config.json"), ""),
      { code: "file-format", file: "config.json", field: "JSON" },
    ],
    [
      "a tokenizer that was not fetched from Git LFS",
      STORIES,
      (folder) => writeFileSync(join(folder, "tokenizer.json"), "version https://git-lfs.github.com/spec/v1"),
      { code: "file-format", file: "tokenizer.json", field: "JSON" },
    ],
  ];
  test.each(cases)("%s: the error names file and field, and nothing stays open", async (_, model, damage, expected) => {
    const folder = copyOf(model);
    damage(folder);
    const error = await refusal(folder);
    const { file, ...rest } = expected;
    expect(error).toMatchObject(rest);
    expect("file" in error && error.file).toBe(join(folder, String(file)));
    expect(error.message.length).toBeLessThan(800);
  });

  test("a config that is not JSON: the message quotes how it begins", async () => {
    const folder = copyOf(STORIES);
    writeFileSync(join(folder, "config.json"), "<!doctype html><html>");
    expect((await refusal(folder)).message).toMatch(/begins with "<!doctype html>/);
  });
});

describe("failures on the way", () => {
  test("every file that cannot be opened or read ends in its error, and nothing stays open", async () => {
    for (const model of [STORIES, SHARDED]) {
      for (let failing = 0; failing < 20; failing++) {
        let calls = 0;
        const step = () => {
          if (calls++ === failing) throw new SourceError("x", `call ${failing}`);
        };
        const inner = counting(fileFolder(model));
        const opening = openCheckpoint({
          name: model,
          async open(path, signal) {
            step();
            const source = await inner.open(path, signal);
            return (
              source && {
                name: source.name,
                size: source.size,
                close: () => source.close(),
                async read(offset, length, signal) {
                  step();
                  return source.read(offset, length, signal);
                },
              }
            );
          },
        });
        const outcome = await opening.catch((error: unknown) => error);
        if (calls <= failing) {
          // There was no such call: it opened.
          await (outcome as Checkpoint).close();
          expect(failing).toBeGreaterThan(8);
        } else {
          expect(outcome).toMatchObject({ message: `x: call ${failing}` });
        }
        expect(inner.opened()).toBe(0);
      }
    }
  });

  test("an abort at any moment ends with the signal's reason, and nothing stays open", async () => {
    for (let aborting = 0; aborting < 12; aborting++) {
      const controller = new AbortController();
      const reason = new Error(`abort ${aborting}`);
      const inner = counting(fileFolder(SHARDED));
      let calls = 0;
      const opening = openCheckpoint(
        {
          name: SHARDED,
          async open(path, signal) {
            if (calls++ === aborting) controller.abort(reason);
            return inner.open(path, signal);
          },
        },
        controller.signal,
      );
      const outcome = await opening.catch((error: unknown) => error);
      if (calls > aborting) expect(outcome).toBe(reason);
      // There was no such call: it opened.
      else await (outcome as Checkpoint).close();
      expect(inner.opened()).toBe(0);
    }
  });
});

test("300 random mutations of config.json end in a typed error or a spec whose tensors fit", async () => {
  const seed = Number(process.env.SEED ?? 77);
  const random = seeded(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const folder = copyOf(STORIES);
  const original = readFileSync(join(folder, "config.json"), "utf8");
  const keys = [...Object.keys(JSON.parse(original)), "rope_parameters", "quantization_config"];
  const values = [null, 0, -1, 1, 2.5, 3, 4, 64, 1e15, 1e308, "", "llama", "silu", true, false, [], {}, [1], [[]]];
  let refused = 0;
  for (let i = 0; i < 300; i++) {
    const config: Json = JSON.parse(original);
    const key = pick(keys);
    config[key] = pick(values);
    writeFileSync(join(folder, "config.json"), JSON.stringify(config));
    const counted = counting(fileFolder(folder));
    const outcome = await openCheckpoint(counted).catch((error: unknown) => error);
    if (outcome instanceof Error) {
      expect(outcome, `seed ${seed}, mutation ${i}: ${key} ${outcome.stack}`).toBeInstanceOf(LayerLeapError);
      refused++;
    } else await (outcome as Checkpoint).close();
    expect(counted.opened()).toBe(0);
  }
  expect(refused).toBeGreaterThan(100);
});
