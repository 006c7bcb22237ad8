/**
 * Thousands of damaged headers, of safetensors and of GGUF: each is read as a sound file or refused with a typed error, soon,
 * without a read beyond the file.
 *
 * `npm run test:slow` tries many more. A failure names its seed, which `LAYERLEAP_SEED` repeats.
 */

import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { LayerLeapError } from "../../src/errors.ts";
import { SOURCE_LAYOUTS, type SourceType } from "../../src/kernels/source_type.ts";
import { type GgufArray, type GgufHeader, readGgufHeader } from "../../src/weights/gguf.ts";
import { readGgufModel } from "../../src/weights/gguf_model.ts";
import { readSafetensorsHeader, type StoredTensor } from "../../src/weights/safetensors.ts";
import { asset, hasAsset } from "../assets.ts";
import { convert } from "../reference/gguf_model.ts";
import { arrays, f32, number, numbers, texts, u32, writeGguf } from "../reference/gguf_writer.ts";
import { type Random, seeded } from "../reference/random.ts";
import { SLOW } from "../slow.ts";
import { type MemorySource, memorySource } from "./memory_source.ts";
import { LLAMA, SHARDED, STORIES } from "./model_folder.ts";

const CASES = SLOW ? 60_000 : 2500;
/** No sound header of these sizes takes a hundredth of it; the longest that is read at all, of nothing but empty texts, a tenth. */
const PATIENCE_MS = 20_000;
/** A message is for people, whatever the file holds. */
const LONGEST_MESSAGE = 1000;

/** The beginning of a file, and how long the file is: what lies behind is nobody's business here. */
interface Beginning {
  header: Uint8Array<ArrayBuffer>;
  size: number;
}

/** Counts and lengths, from none to more than there can be. */
const SMALL: [bigint, ...bigint[]] = [0n, 1n, 2n, 7n, 255n, 65536n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n];
const LARGE: [bigint, ...bigint[]] = [2n ** 32n, 2n ** 40n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 32n, 2n ** 64n - 1n];

/** Ways to damage a header, at a random place of it. */
const DAMAGES: Record<string, (random: Random, header: Uint8Array) => Uint8Array> = {
  "bits turned"(random, header) {
    const bytes = header.slice();
    for (let i = random.int(1, 8); i > 0; i--) bytes[random.int(0, bytes.length - 1)]! ^= 1 << random.int(0, 7);
    return bytes;
  },
  "a byte replaced"(random, header) {
    const bytes = header.slice();
    bytes[random.int(0, bytes.length - 1)] = random.int(0, 255);
    return bytes;
  },
  "a number of 8 bytes replaced"(random, header) {
    return written(header, placeOfNumber(random, header, 8), 8, random.pick(random.pick([SMALL, LARGE])));
  },
  "a number of 4 bytes replaced"(random, header) {
    const value = random.uniform() < 0.3 ? BigInt(random.int(0, 40)) : random.pick(SMALL);
    return written(header, placeOfNumber(random, header, 4), 4, value & 0xffffffffn);
  },
  "a run left out"(random, header) {
    const begin = random.int(0, header.length - 1);
    return Buffer.concat([header.subarray(0, begin), header.subarray(begin + random.int(1, 64))]);
  },
  "a run put in from elsewhere"(random, header) {
    const [from, to] = [random.int(0, header.length - 1), random.int(0, header.length)];
    return Buffer.concat([
      header.subarray(0, to),
      header.subarray(from, from + random.int(1, 200)),
      header.subarray(to),
    ]);
  },
  "a run replaced by another"(random, header) {
    const bytes = header.slice();
    const length = random.int(1, Math.min(200, bytes.length));
    const from = random.int(0, bytes.length - length);
    bytes.copyWithin(random.int(0, bytes.length - length), from, from + length);
    return bytes;
  },
  noise(random, header) {
    const bytes = header.slice();
    const begin = random.int(0, bytes.length - 1);
    return bytes.fill(0).map((_, i) => (i < begin || i > begin + 64 ? header[i]! : random.int(0, 255)));
  },
};

function written(header: Uint8Array, at: number, bytes: 4 | 8, value: bigint): Uint8Array {
  const copy = header.slice();
  const view = new DataView(copy.buffer, copy.byteOffset);
  if (bytes === 8) view.setBigUint64(at, value, true);
  else view.setUint32(at, Number(value), true);
  return copy;
}

/** Half of the time where zeros end, as they do behind a small number. */
function placeOfNumber(random: Random, header: Uint8Array, bytes: number): number {
  const last = header.length - bytes;
  const start = random.int(0, last);
  if (random.uniform() < 0.5) return start;
  for (let at = start; at <= last; at++) {
    if (header[at] !== 0 && header[at + 1] === 0 && header[at + 2] === 0 && header[at + 3] === 0) return at;
  }
  return start;
}

/** Strings of safetensors' JSON, for others that are JSON as well. */
const WORDS = ["F32", "BF16", "shape", "dtype", "data_offsets", "[", "]", "{", "}", ",", ":", "64", "0", "1e9", "-1"];
const OTHERS = ["F64", "F4", "null", "true", "[[]]", "{}", "9007199254740993", "0.5", '"', "__proto__", "1e400", ""];

function wordReplaced(random: Random, header: Uint8Array): Uint8Array {
  const text = Buffer.from(header.subarray(8)).toString("latin1");
  const word = random.pick(WORDS as [string, ...string[]]);
  const places = [...text.matchAll(new RegExp(word.replace(/[[\]{}]/g, "\\$&"), "g"))].map(({ index }) => index);
  const at = places[random.int(0, Math.max(0, places.length - 1))] ?? 0;
  const changed =
    text.slice(0, at) + random.pick([...WORDS, ...OTHERS] as [string, ...string[]]) + text.slice(at + word.length);
  const json = Buffer.from(changed, "latin1");
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json]);
}

/** What became of damaged files. */
class Tally {
  sound = 0;
  refused = new Map<string, number>();

  add(code: string): void {
    this.refused.set(code, (this.refused.get(code) ?? 0) + 1);
  }

  get refusals(): number {
    return [...this.refused.values()].reduce((sum, count) => sum + count, 0);
  }
}

/** Damages a file, has it read, and fails unless it is read or refused as it should. */
async function tryOne(
  random: Random,
  { header, size }: Beginning,
  name: string,
  damages: typeof DAMAGES,
  read: (source: MemorySource) => Promise<void>,
  tally: Tally,
): Promise<void> {
  const [what, damage] = random.pick(Object.entries(damages) as [[string, (typeof DAMAGES)[string]]]);
  let bytes = damage(random, header);
  let length = size + bytes.length - header.length;
  if (random.uniform() < 0.1) bytes = DAMAGES["bits turned"]!(random, bytes);
  if (random.uniform() < 0.15) length = random.int(0, length);
  const source = memorySource(bytes.subarray(0, length), name, length);
  const started = performance.now();
  try {
    await read(source);
    tally.sound++;
  } catch (error) {
    if (!(error instanceof LayerLeapError)) {
      throw new Error(`${what}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`, {
        cause: error,
      });
    }
    expect(error.message.length, `${what}: the length of "${error.message.slice(0, 200)}..."`).toBeLessThan(
      LONGEST_MESSAGE,
    );
    expect(error.message, what).toContain(name);
    tally.add(error.code);
  }
  expect(performance.now() - started, what).toBeLessThan(PATIENCE_MS);
  // Ranges that grow may read a header twice, and what follows it once.
  expect(
    source.reads.reduce((sum, each) => sum + each, 0),
    what,
  ).toBeLessThanOrEqual(2 * length + 8);
}

/** Fails unless tensors lie in the file, apart from each other. */
function expectPlaced(tensors: Iterable<{ name: string; offset: number; byteLength: number }>, size: number): void {
  let end = 0;
  const sorted = [...tensors].sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  for (const { name, offset, byteLength } of sorted) {
    expect(Number.isSafeInteger(offset) && Number.isSafeInteger(byteLength) && byteLength >= 0, name).toBe(true);
    expect(offset, name).toBeGreaterThanOrEqual(end);
    end = offset + byteLength;
    expect(end, name).toBeLessThanOrEqual(size);
  }
}

describe("safetensors", () => {
  const beginning = (path: string): Beginning => {
    const file = readFileSync(path);
    const end = 8 + Number(file.readBigUInt64LE(0));
    return { header: new Uint8Array(file.subarray(0, end)), size: file.length };
  };
  const files = [
    join(STORIES, "model.safetensors"),
    join(LLAMA, "model.safetensors"),
    join(SHARDED, "model-00001-of-00002.safetensors"),
  ].map(beginning) as [Beginning, ...Beginning[]];

  const read = async (source: MemorySource) => {
    const tensors = await readSafetensorsHeader(source);
    expectPlaced(tensors.values(), source.size);
    const total = [...tensors.values()].reduce((sum, { byteLength }: StoredTensor) => sum + byteLength, 0);
    expect(total, "the tensors fill the file").toBeLessThanOrEqual(source.size - 8);
    for (const [name, tensor] of tensors) {
      expect(tensor.name).toBe(name);
      expect(tensor.shape.every((size) => Number.isSafeInteger(size) && size >= 0)).toBe(true);
    }
  };

  test("sound headers pass", async () => {
    for (const { header, size } of files) await read(memorySource(header, "m", size));
  });

  test(
    `${CASES} damaged headers`,
    seeded(async (random) => {
      const tally = new Tally();
      const damages = { ...DAMAGES, "a word replaced": wordReplaced, "another word replaced": wordReplaced };
      for (let i = 0; i < CASES; i++) await tryOne(random, random.pick(files), "m.safetensors", damages, read, tally);
      expect(tally.sound, "some damage is none: a name, metadata").toBeGreaterThan(CASES / 100);
      expect(tally.refusals).toBeGreaterThan(CASES / 2);
    }),
  );
});

describe("GGUF", () => {
  /** The header of a file's bytes: what lies before its first tensor. */
  async function beginning(file: Uint8Array): Promise<Beginning> {
    const { tensors } = await readGgufHeader(memorySource(file));
    const end = Math.min(...[...tensors.values()].map(({ offset }) => offset));
    return { header: new Uint8Array(file.subarray(0, end)), size: file.length };
  }

  /** Files of every architecture with a vocabulary and values of every type, some with blocks. */
  async function files(): Promise<[Beginning, ...Beginning[]]> {
    const made = ["llama", "llama3-rope-tied", "gemma2", "gemma3", "phi3", "qwen3", "granite"].map((family, i) => {
      const { metadata, tensors } = convert(join(LLAMA, "..", family));
      const blocks = (Object.entries(SOURCE_LAYOUTS) as [SourceType, (typeof SOURCE_LAYOUTS)[SourceType]][]).map(
        ([dtype, { elements, bytes }]) => ({
          ...{ name: `extra.${dtype}`, dtype, shape: [3, 2 * elements] },
          bytes: new Uint8Array(6 * bytes),
        }),
      );
      return writeGguf({
        version: i % 2 === 0 ? 3 : 2,
        alignment: i === 1 ? 64 : 32,
        metadata: [
          ...(i === 1 ? ([["general.alignment", u32(64)]] as const) : []),
          ...metadata,
          ["tokenizer.ggml.tokens", texts(Array.from({ length: 64 }, (_, id) => `Ġtoken${id}`))],
          [
            "tokenizer.ggml.scores",
            numbers(
              "f32",
              Array.from({ length: 64 }, (_, id) => -id),
            ),
          ],
          ["tokenizer.ggml.token_type", numbers("i32", Array(64).fill(1))],
          ["tokenizer.ggml.add_bos_token", true],
          ["tokenizer.chat_template", "{% for message in messages %}{{ message.content }}{% endfor %}"],
          ["a.nested", arrays([texts(["x", "y"]), arrays([numbers("u8", [1, 2])])])],
          ["a.flags", numbers("bool", [1, 0, 1])],
          ...(["u8", "i8", "u16", "i16", "i32", "u64", "i64", "f64"] as const).map(
            (type) => [`a.${type}`, number(type, 5)] as const,
          ),
          ["a.float", f32(0.5)],
        ],
        tensors: [...tensors, ...blocks],
      });
    });
    return (await Promise.all(made.map(beginning))) as [Beginning, ...Beginning[]];
  }

  const read = async (source: MemorySource) => {
    const header = await readGgufHeader(source);
    expectSound(header, source);
    // Behind the header there are zeros, which no frequency is divided by.
    await readGgufModel(header, source.name, async ({ offset, byteLength }) => {
      const { length } = await source.read(offset, Math.min(byteLength, 4096));
      return Array(length >> 2).fill(1);
    });
  };

  function expectSound({ metadata, tensors }: GgufHeader, source: MemorySource): void {
    expectPlaced(tensors.values(), source.size);
    for (const [name, { dtype, shape, byteLength, ...tensor }] of tensors) {
      expect(tensor.name).toBe(name);
      const { elements, bytes } = SOURCE_LAYOUTS[dtype];
      expect(byteLength).toBe((shape.reduce((product, size) => product * size, 1) / elements) * bytes);
    }
    let least = 0;
    const count = (array: GgufArray | string): number =>
      typeof array === "string"
        ? 8
        : ArrayBuffer.isView(array)
          ? array.byteLength
          : (array as (GgufArray | string)[]).reduce((sum, each) => sum + count(each), 0);
    for (const [key, value] of metadata) least += key.length + (typeof value === "object" ? count(value) : 1);
    expect(least, "no more is held than the file has").toBeLessThanOrEqual(source.size);
  }

  test("sound headers pass", async () => {
    for (const { header, size } of await files()) await read(memorySource(header, "m", size));
  });

  test(
    `${CASES} damaged headers`,
    seeded(async (random) => {
      const tally = new Tally();
      const all = await files();
      for (let i = 0; i < CASES; i++) await tryOne(random, random.pick(all), "m.gguf", DAMAGES, read, tally);
      expect(tally.sound, "some damage is none: a token, a number nobody needs").toBeGreaterThan(CASES / 100);
      expect(tally.refusals).toBeGreaterThan(CASES / 3);
      expect([...tally.refused.keys()].sort()).toEqual(["file-format", "unsupported-model"]);
    }),
  );

  const REAL = "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf";
  const realCases = SLOW ? 2000 : 60;
  test.skipIf(!hasAsset(REAL))(
    `${realCases} damaged headers of ${REAL}, whose vocabulary is 1.8 MB`,
    seeded(async (random) => {
      const path = asset(REAL);
      const header = new Uint8Array(2 ** 21);
      const file = openSync(path, "r");
      try {
        readSync(file, header, 0, header.length, 0);
      } finally {
        closeSync(file);
      }
      const tally = new Tally();
      const real = { header, size: statSync(path).size };
      // Without a vocabulary that differs from file to file, what is read of a sound one is the same each time.
      for (let i = 0; i < realCases; i++) await tryOne(random, real, "m.gguf", DAMAGES, read, tally);
      expect(tally.sound + tally.refusals).toBe(realCases);
    }),
  );
});
