/**
 * The whole forward pass: against the reference decoder on random models, and against itself for the rule that keeps the
 * bits: a row does not depend on the pass it is computed in.
 *
 * The KV cache is full of NaN where nothing was written (test/engine.ts): reading past a row's context shows at once.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { score } from "../../src/decode/score.ts";
import type { Regime } from "../../src/forward/layer_kernels.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import type { KernelChoice } from "../../src/kernels/choice.ts";
import { decodeMatrix } from "../../src/kernels/weight_codec.ts";
import type { Dtype } from "../../src/types.ts";
import type { Matrix } from "../../src/weights/held_weights.ts";
import { type Engine, openEngine, poison } from "../engine.ts";
import { randomModelFolder, STORIES } from "../memory_folder.ts";
import { relativeError } from "../reference/compare.ts";
import { ReferenceModel } from "../reference/model.ts";
import { Random, randomSeed, seeded } from "../reference/random.ts";
import type { Tensor } from "../reference/safetensors.ts";
import { SLOW } from "../slow.ts";

const REGIMES: readonly Regime[] = ["generated", "prompt"];

/** Logits after `exitLayer` layers at every position of `ids`, computed `rowsPerPass` rows at a time. */
function logits(
  engine: Engine,
  ids: number[],
  exitLayer: number,
  regime: Regime,
  rowsPerPass?: number,
): Promise<Float32Array[]> {
  const at = ids.map((_, position) => position);
  return score(engine.device, engine.forward, engine.table, {
    ids,
    at,
    exitLayer,
    regime,
    ...(rowsPerPass && { rowsPerPass }),
  });
}

const bits = (row: Float32Array) => new Uint32Array(row.buffer, row.byteOffset, row.length);

/** Numbers of a buffer of weights. */
async function words({ device }: Engine, buffer: GPUBuffer): Promise<Uint32Array<ArrayBuffer>> {
  const { COPY_DST, MAP_READ } = GPUBufferUsage;
  const read = device.ledger.allocate("test", "read", buffer.size, COPY_DST | MAP_READ);
  const recorder = new Recorder(device.handle, "read");
  recorder.copy(buffer, 0, read, 0, buffer.size);
  device.submit(recorder);
  try {
    return new Uint32Array(await device.read(read, buffer.size));
  } finally {
    device.ledger.release(read);
  }
}

/** The tensors of a checkpoint as the engine's weights have rounded them. */
async function roundedTensors(engine: Engine, tensors: ReadonlyMap<string, Tensor>): Promise<Map<string, Tensor>> {
  const { weights, spec } = engine;
  const rounded = new Map(tensors);
  const put = async (matrix: Matrix, names: readonly string[]) => {
    const { format, weight, scales, inputSize, columns } = matrix;
    const values = decodeMatrix(format, await words(engine, weight), await words(engine, scales), inputSize, columns);
    let from = 0;
    for (const name of names) {
      const { shape } = tensors.get(name)!;
      const size = shape[0]! * shape[1]!;
      rounded.set(name, { shape, values: Float32Array.from(values.subarray(from, from + size)) });
      from += size;
    }
  };
  await put(weights.embedding[0]!, ["model.embed_tokens.weight"]);
  if (!spec.tieWordEmbeddings) await put(weights.head[0]!, ["lm_head.weight"]);
  for (const [i, { qkv, output, gateUp, down }] of weights.layers.entries()) {
    const of = (...names: string[]) => names.map((name) => `model.layers.${i}.${name}_proj.weight`);
    await put(qkv[0]!, of("self_attn.q", "self_attn.k", "self_attn.v"));
    await put(output, of("self_attn.o"));
    await put(gateUp[0]!, of("mlp.gate", "mlp.up"));
    await put(down, of("mlp.down"));
  }
  return rounded;
}

describe("against the reference decoder, on models of random shape and weights", () => {
  // f32 keeps 24 bits. A sum of n terms of mixed sign loses about sqrt(n) units in the last place, n < 500 here, and the
  // layers add theirs up: some hundred units of 6e-8. Wrong arithmetic is off by far more than 1e-4.
  const BOUND = 1e-4;
  // A cache of f16 rounds keys and values to 11 bits: 5e-4 of each, which softmax and layers may add up a few times.
  const HALF_CACHE_BOUND = 1e-2;

  const ENGINES: ({ dtype?: Dtype } & Partial<KernelChoice>)[] = [
    {},
    {},
    {},
    { fewRows: { kind: "workgroup", slices: 8 }, attention: "workgroup" },
    { dtype: "f16", manyRows: "tiles", promptAttention: "tiles" },
    { dtype: "q8", kv: "f16" },
    { dtype: "q4" },
    { dtype: "q4", fewRows: { kind: "subgroup", slices: 4 }, attention: "workgroup", kv: "f16" },
  ];

  test.each(ENGINES.map((kernels, i) => [i, JSON.stringify(kernels), kernels] as const))(
    "model %i %s: the logits of every layer, as a prompt and as generated rows",
    (_, __, kernels) =>
      seeded(async (random) => {
        const { folder, reference, tensors } = randomModelFolder(random);
        const { layers, vocabSize } = reference.config;
        const engine = await openEngine(folder, 256, kernels);
        try {
          const rounded =
            (kernels.dtype ?? "f32") === "f32"
              ? reference
              : new ReferenceModel(reference.config, await roundedTensors(engine, tensors));
          const ids = random.ints(random.int(1, 80), 0, vocabSize - 1);
          for (let exitLayer = 1; exitLayer <= layers; exitLayer++) {
            const expected = rounded.logits(ids, exitLayer);
            for (const regime of REGIMES) {
              const actual = await logits(engine, ids, exitLayer, regime, random.int(1, 32));
              const bound = kernels.kv === "f16" ? HALF_CACHE_BOUND : BOUND;
              for (const [i, row] of expected.entries()) {
                expect(relativeError(actual[i]!, row).error, regime).toBeLessThan(bound);
              }
            }
          }
        } finally {
          engine.device.dispose();
        }
      })(),
  );
});

describe.each(REGIMES)("row r of an M-row pass equals the row alone, bit for bit: %s rows", (regime) => {
  const CONTEXT = 512;
  let engine: Engine;
  beforeAll(async () => {
    engine = await openEngine(STORIES, CONTEXT);
  });
  afterAll(() => engine.device.dispose());

  const random = new Random(randomSeed());
  const ids = random.ints(CONTEXT, 0, 511);
  let alone: Float32Array[];

  test(`one row a pass (seed ${random.seed})`, async () => {
    alone = await logits(engine, ids, engine.spec.layers, regime, 1);
    expect(alone.every((row) => row.every(Number.isFinite))).toBe(true);
  });

  // Each bucket whole and in part, and a slab beyond the largest; test/kernels/bits.test.ts has every number of rows.
  const rowCounts = SLOW ? Array.from({ length: 31 }, (_, i) => i + 2) : [2, 3, 5, 8, 17, 32];
  test.each(rowCounts)("%i rows a pass, contexts of 1 to 512", async (rowsPerPass) => {
    poison(engine.device, engine.kv);
    const together = await logits(engine, ids, engine.spec.layers, regime, rowsPerPass);
    const differing = together.flatMap((row, i) =>
      bits(row).some((word, j) => word !== bits(alone[i]!)[j]) ? [i] : [],
    );
    expect(differing).toEqual([]);
  });
});
