import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { FileFormatError, LayerLeapError } from "../../src/errors.ts";
import { readSafetensorsHeader } from "../../src/weights/safetensors.ts";
import type { Source } from "../../src/weights/source.ts";
import { failure, LLAMA, type Parts, putTogether, SHARDED, STORIES, seeded, takeApart } from "./model_folder.ts";

const REAL = takeApart(join(LLAMA, "model.safetensors"));
const QUERY = "model.layers.1.self_attn.q_proj.weight";

/** A file in memory that says how much was asked of it. */
function memory(bytes: Uint8Array): Source & { largestRead: () => number } {
  let largest = 0;
  return {
    name: "m.safetensors",
    size: bytes.length,
    largestRead: () => largest,
    async read(offset, length) {
      largest = Math.max(largest, length);
      expect(offset + length, "reads stay inside the file").toBeLessThanOrEqual(bytes.length);
      return new Uint8Array(bytes.subarray(offset, offset + length));
    },
    async close() {},
  };
}

function read(bytes: Uint8Array) {
  return readSafetensorsHeader(memory(bytes));
}

function edited(edit: (parts: Parts) => void): Buffer {
  const parts = { header: structuredClone(REAL.header), data: REAL.data };
  edit(parts);
  return putTogether(parts.header, parts.data);
}

describe("sound files", () => {
  for (const path of [
    join(STORIES, "model.safetensors"),
    join(LLAMA, "model.safetensors"),
    join(SHARDED, "model-00001-of-00002.safetensors"),
  ]) {
    test(`every tensor of ${basename(path)} lies where its header says`, async () => {
      const bytes = readFileSync(path);
      const { header, data } = takeApart(path);
      const tensors = await read(bytes);
      expect([...tensors.keys()]).toEqual(Object.keys(header).filter((name) => name !== "__metadata__"));
      for (const [name, { dtype, shape, offset, byteLength }] of tensors) {
        const [begin, end] = header[name]!.data_offsets as [number, number];
        expect({ dtype, shape }).toEqual({ dtype: header[name]!.dtype, shape: header[name]!.shape });
        expect(bytes.subarray(offset, offset + byteLength).equals(data.subarray(begin, end))).toBe(true);
      }
    });
  }

  test("types that no weight has are listed, also those of less than a byte", async () => {
    const header = {
      i: { dtype: "I64", shape: [2], data_offsets: [0, 16] },
      f4: { dtype: "F4", shape: [6], data_offsets: [16, 19] },
      u: { dtype: "U8", shape: [], data_offsets: [19, 20] },
    };
    const tensors = await read(putTogether(header, new Uint8Array(20)));
    expect([...tensors.values()].map(({ dtype, byteLength }) => [dtype, byteLength])).toEqual([
      ["I64", 16],
      ["F4", 3],
      ["U8", 1],
    ]);
  });

  test("empty tensors, an empty file of tensors and a padded header are sound", async () => {
    const empty = { e: { dtype: "F32", shape: [0, 4], data_offsets: [0, 0] } };
    expect((await read(putTogether(empty, new Uint8Array(0)))).get("e")?.byteLength).toBe(0);
    expect((await read(putTogether("{}      ", new Uint8Array(0)))).size).toBe(0);
  });

  test("names of JavaScript's own properties are names like any other", async () => {
    const header =
      '{"__proto__":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"toString":{"dtype":"F16","shape":[1],"data_offsets":[4,6]}}';
    const tensors = await read(putTogether(header, new Uint8Array(6)));
    expect([...tensors.keys()]).toEqual(["__proto__", "toString"]);
  });
});

describe("damaged files", () => {
  const entry = (key: string, value: unknown) => () => edited(({ header }) => (header[QUERY]![key] = value));
  const cases: [string, () => Uint8Array, string, RegExp][] = [
    ["an empty file", () => new Uint8Array(0), "header length", /0 bytes/],
    ["seven bytes", () => new Uint8Array(7), "header length", /7 bytes/],
    ["a header longer than the file", () => putTogether({}, new Uint8Array(0), 3), "header length", /truncated/],
    ["a huge header length", () => putTogether({}, REAL.data, 2n ** 63n + 5n), "header length", /922337203685477/],
    [
      "a header length beyond the format's limit",
      () => putTogether({}, new Uint8Array(1e8 + 8), 1e8 + 1),
      "header length",
      /100000000/,
    ],
    ["not JSON", () => putTogether("{nonsense", new Uint8Array(0)), "header", /nonsense/],
    [
      "a page instead of a file",
      () => Buffer.from("<!doctype html><title>404</title>".repeat(9)),
      "header length",
      /not a safetensors/,
    ],
    ["an empty header", () => putTogether("", new Uint8Array(0)), "header", /nothing/],
    ["a header that is an array", () => putTogether("[]", new Uint8Array(0)), "header", /begins with/],
    ["a header that begins with a space", () => putTogether(" {}", new Uint8Array(0)), "header", /begins with/],
    [
      "a header that is not UTF-8",
      () => Buffer.concat([putTogether("", new Uint8Array(0), 2), Buffer.of(0x7b, 0xff)]),
      "header",
      /UTF-8/,
    ],
    [
      "metadata that are no strings",
      () => putTogether({ __metadata__: { format: 1 } }, new Uint8Array(0)),
      "__metadata__.format",
      /found 1,/,
    ],
    [
      "an entry that is a number",
      () => edited(({ header }) => ((header as Record<string, unknown>)[QUERY] = 4)),
      QUERY,
      /found 4,/,
    ],
    ["an unknown type", entry("dtype", "Q4_0"), `${QUERY}.dtype`, /Q4_0/],
    ["a type that JavaScript's objects have", entry("dtype", "constructor"), `${QUERY}.dtype`, /constructor/],
    ["no type", entry("dtype", undefined), `${QUERY}.dtype`, /nothing/],
    ["a negative size", entry("shape", [-64, -64]), `${QUERY}.shape`, /-64/],
    ["a fractional size", entry("shape", [64.5, 64]), `${QUERY}.shape`, /64\.5/],
    [
      "sizes whose product is beyond counting",
      entry("shape", [2 ** 40, 2 ** 40, 0]),
      `${QUERY}.shape`,
      /1099511627776/,
    ],
    [
      "a shape nested without end",
      () =>
        putTogether(
          `{"a":{"dtype":"F32","shape":${"[".repeat(1e5)}${"]".repeat(1e5)},"data_offsets":[0,0]}}`,
          new Uint8Array(0),
        ),
      "a.shape",
      /\[\.\.\.\]/,
    ],
    [
      "half a byte",
      () => putTogether({ a: { dtype: "F4", shape: [3], data_offsets: [0, 1] } }, new Uint8Array(1)),
      "a.shape",
      /whole bytes/,
    ],
    ["descending offsets", entry("data_offsets", [32, 16]), `${QUERY}.data_offsets`, /\[32, 16\]/],
    ["offsets that are no numbers", entry("data_offsets", ["0", "16"]), `${QUERY}.data_offsets`, /"0"/],
    ["one offset", entry("data_offsets", [0]), `${QUERY}.data_offsets`, /\[0\]/],
    ["an end beyond counting", entry("data_offsets", [0, 1e300]), `${QUERY}.data_offsets`, /1e\+300/],
    [
      "another length than the shape has",
      entry("shape", [64, 63]),
      `${QUERY}.data_offsets`,
      /16384 bytes.*16128 bytes/,
    ],
    ["a type of another length", entry("dtype", "F16"), `${QUERY}.data_offsets`, /8192 bytes/],
    [
      "bytes behind the last tensor",
      () => Buffer.concat([edited(() => {}), new Uint8Array(3)]),
      "data",
      /as its tensors take/,
    ],
    [
      "tensors that overlap",
      () => {
        const a = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
        return putTogether({ a, b: { ...a, data_offsets: [4, 12] } }, new Uint8Array(12));
      },
      "b.data_offsets",
      /overlap with a/,
    ],
    [
      "a hole between tensors",
      () => {
        const a = { dtype: "F32", shape: [1], data_offsets: [0, 4] };
        return putTogether({ a, b: { ...a, data_offsets: [8, 12] } }, new Uint8Array(12));
      },
      "b.data_offsets",
      /hole after a/,
    ],
  ];
  for (const [what, make, field, message] of cases) {
    test(`${what}: the error names the file, the field and both values`, async () => {
      const error = await failure(read(make()));
      expect(error).toBeInstanceOf(FileFormatError);
      expect(error).toMatchObject({ code: "file-format", file: "m.safetensors", field, name: "FileFormatError" });
      expect((error as Error).message).toMatch(message);
      expect((error as Error).message.length).toBeLessThan(600);
    });
  }

  test("a file cut off anywhere is refused", async () => {
    const whole = readFileSync(join(LLAMA, "model.safetensors"));
    const random = seeded(3);
    for (let i = 0; i < 60; i++) {
      const length = Math.floor(random() ** 3 * whole.length);
      const error = await failure(read(whole.subarray(0, length)));
      expect(error, `${length} bytes`).toBeInstanceOf(FileFormatError);
      expect((error as Error).message, `${length} bytes`).toMatch(/truncated|at least 8 bytes/);
    }
  });

  test("nothing larger than the file is ever read", async () => {
    const source = memory(putTogether({}, new Uint8Array(100), 99_000_000));
    expect(await failure(readSafetensorsHeader(source))).toBeInstanceOf(FileFormatError);
    expect(source.largestRead()).toBe(8);
  });
});

test("600 random mutations of a header end in a typed error or in tensors inside the file, in bounded time", async () => {
  const seed = Number(process.env.SEED ?? 20240);
  const random = seeded(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const values: unknown[] = [
    0,
    -1,
    1,
    0.5,
    2 ** 53,
    1e308,
    "",
    "F32",
    "F64",
    null,
    true,
    [],
    [0],
    [0, 0],
    {},
    [[]],
    "\u0000",
  ];
  const original = JSON.stringify(REAL.header);
  let refused = 0;
  for (let i = 0; i < 600; i++) {
    let header: unknown = JSON.parse(original);
    let length: number | bigint | undefined;
    const entries = header as Record<string, Record<string, unknown>>;
    const name = pick(Object.keys(entries));
    const kind = Math.floor(random() * 5);
    if (kind === 0) entries[name]![pick(["dtype", "shape", "data_offsets"])] = pick(values);
    else if (kind === 1) (entries as Record<string, unknown>)[pick([name, "__metadata__", "new"])] = pick(values);
    else if (kind === 2) {
      const list = entries[name]![pick(["shape", "data_offsets"])];
      if (Array.isArray(list)) list[Math.floor(random() * 3)] = pick([...values, 64, 4096, 16384]);
    } else if (kind === 3) {
      const at = Math.floor(random() * original.length);
      header = original.slice(0, at) + String.fromCharCode(32 + random() * 95) + original.slice(at + 1);
    } else length = pick([0n, 1n, 7n, BigInt(original.length) + 1n, 2n ** 32n, 2n ** 64n - 1n]);
    const bytes = putTogether(header, REAL.data, length);
    const started = performance.now();
    try {
      for (const { offset, byteLength } of (await read(bytes)).values()) {
        expect(offset + byteLength).toBeLessThanOrEqual(bytes.length);
      }
    } catch (error) {
      expect(error, `seed ${seed}, mutation ${i}: ${error}`).toBeInstanceOf(LayerLeapError);
      refused++;
    }
    expect(performance.now() - started).toBeLessThan(10_000);
  }
  expect(refused).toBeGreaterThan(300);
});
