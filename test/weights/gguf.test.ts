import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { FileFormatError, UnsupportedModelError } from "../../src/errors.ts";
import { SOURCE_LAYOUTS, type SourceType } from "../../src/kernels/source_type.ts";
import { readGgufHeader } from "../../src/weights/gguf.ts";
import type { Source } from "../../src/weights/source.ts";
import {
  arrays,
  f32,
  number,
  numbers,
  TENSOR_TYPES,
  texts,
  u32,
  type Value,
  type WrittenFile,
  type WrittenTensor,
  writeGguf,
} from "../reference/gguf_writer.ts";
import { memorySource } from "./memory_source.ts";
import { failure } from "./model_folder.ts";

const read = (bytes: Uint8Array) => readGgufHeader(memorySource(bytes));
const bytes = (length: number, first = 0) => Uint8Array.from({ length }, (_, i) => first + i);
const metadataOf = async (entries: Record<string, Value>) => (await read(writeGguf({ metadata: entries }))).metadata;

/** Two tensors with padding between them. */
const A: WrittenTensor = { name: "a", dtype: "F32", shape: [2, 3], bytes: bytes(24) };
const B: WrittenTensor = { name: "b", dtype: "Q4_0", shape: [3, 64], bytes: bytes(108, 100) };

describe("sound files", () => {
  test("metadata of every type, to its last bit", async () => {
    const entries = {
      "a.u8": number("u8", 255),
      "a.i8": number("i8", -128),
      "a.u16": number("u16", 65535),
      "a.i16": number("i16", -32768),
      "a.u32": u32(2 ** 32 - 1),
      "a.i32": number("i32", -(2 ** 31)),
      "a.f32": f32(1e-5),
      "a.u64": number("u64", 2n ** 53n - 1n),
      "a.i64": number("i64", -5n),
      "a.f64": number("f64", 0.1),
      "a.yes": true,
      "a.no": false,
      "a.text": "\ufeffmargin ✓ 𝄞\0",
      "a.empty": "",
    };
    expect(Object.fromEntries(await metadataOf(entries))).toEqual({
      "a.u8": 255,
      "a.i8": -128,
      "a.u16": 65535,
      "a.i16": -32768,
      "a.u32": 2 ** 32 - 1,
      "a.i32": -(2 ** 31),
      "a.f32": Math.fround(1e-5),
      "a.u64": 2 ** 53 - 1,
      "a.i64": -5,
      "a.f64": 0.1,
      "a.yes": true,
      "a.no": false,
      "a.text": "\ufeffmargin ✓ 𝄞\0",
      "a.empty": "",
    });
  });

  test("arrays of every type, empty and nested ones", async () => {
    const metadata = await metadataOf({
      u8: numbers("u8", [0, 255]),
      i8: numbers("i8", [-128]),
      u16: numbers("u16", [65535]),
      i16: numbers("i16", [-1, 1]),
      u32: numbers("u32", [2 ** 32 - 1]),
      i32: numbers("i32", [-1]),
      f32: numbers("f32", [0.1]),
      u64: numbers("u64", [2n ** 52n]),
      i64: numbers("i64", [-1n]),
      f64: numbers("f64", [0.1]),
      bool: numbers("bool", [1, 0, 1]),
      texts: texts(["", "Ġthe", "\ufeff"]),
      none: numbers("f32", []),
      nested: arrays([texts(["x"]), arrays([numbers("u8", [7])])]),
    });
    expect(Object.fromEntries(metadata)).toEqual({
      u8: Uint8Array.of(0, 255),
      i8: Int8Array.of(-128),
      u16: Uint16Array.of(65535),
      i16: Int16Array.of(-1, 1),
      u32: Uint32Array.of(2 ** 32 - 1),
      i32: Int32Array.of(-1),
      f32: Float32Array.of(0.1),
      u64: Float64Array.of(2 ** 52),
      i64: Float64Array.of(-1),
      f64: Float64Array.of(0.1),
      bool: Uint8Array.of(1, 0, 1),
      texts: ["", "Ġthe", "\ufeff"],
      none: new Float32Array(0),
      nested: [["x"], [Uint8Array.of(7)]],
    });
  });

  test("a 64-bit number that a double cannot hold is no safe integer", async () => {
    const metadata = await metadataOf({ big: number("u64", 2n ** 53n + 1n) });
    expect(Number.isSafeInteger(metadata.get("big"))).toBe(false);
  });

  test("tokens that are no UTF-8 do not spoil the vocabulary", async () => {
    const metadata = await metadataOf({ "tokenizer.ggml.tokens": texts(["a", Uint8Array.of(0xff), "b"]) });
    expect(metadata.get("tokenizer.ggml.tokens")).toEqual(["a", "\ufffd", "b"]);
  });

  for (const version of [2, 3]) {
    for (const alignment of [32, 8, 4096, undefined]) {
      test(`version ${version}, alignment ${alignment ?? "not given"}: every tensor lies where it was written`, async () => {
        const metadata: [string, Value][] = alignment ? [["general.alignment", u32(alignment)]] : [];
        const written = [A, B, { ...A, name: "c" }];
        const file = writeGguf({ metadata, tensors: written, version, ...(alignment && { alignment }) });
        const { tensors } = await read(file);
        expect([...tensors.keys()]).toEqual(["a", "b", "c"]);
        for (const { name, dtype, shape, bytes } of written) {
          const tensor = tensors.get(name)!;
          expect(tensor).toMatchObject({ name, dtype, shape, byteLength: bytes.length });
          expect(tensor.offset % (alignment ?? 32)).toBe(0);
          const found = file.subarray(tensor.offset, tensor.offset + tensor.byteLength);
          expect(Buffer.compare(found, bytes)).toBe(0);
        }
      });
    }
  }

  test("every type that is known has its number and its size", async () => {
    for (const [type, { elements, bytes: size }] of Object.entries(SOURCE_LAYOUTS)) {
      const dtype = type as SourceType;
      const file = writeGguf({ tensors: [{ name: "t", dtype, shape: [3, 2 * elements], bytes: bytes(6 * size) }] });
      expect((await read(file)).tensors.get("t")).toMatchObject({ dtype, byteLength: 6 * size });
    }
    expect(Object.keys(SOURCE_LAYOUTS).sort()).toEqual(Object.keys(TENSOR_TYPES).sort());
  });

  test("tensors of no element, of no dimension and of four, and the order of the header", async () => {
    const tensors: WrittenTensor[] = [
      { name: "z", dtype: "F32", shape: [1, 2, 3, 4], bytes: bytes(96) },
      { name: "empty", dtype: "F16", shape: [0, 4], bytes: bytes(0) },
      { name: "scalar", dtype: "F32", shape: [], bytes: bytes(4) },
    ];
    const header = await read(writeGguf({ tensors }));
    expect([...header.tensors.values()].map(({ name, shape, byteLength }) => [name, shape, byteLength])).toEqual([
      ["z", [1, 2, 3, 4], 96],
      ["empty", [0, 4], 0],
      ["scalar", [], 4],
    ]);
  });

  test("names of JavaScript's own properties are names like any other", async () => {
    const metadata: [string, Value][] = [
      ["__proto__", "p"],
      ["constructor", "c"],
    ];
    const header = await read(writeGguf({ metadata, tensors: [{ ...A, name: "__proto__" }] }));
    expect([...header.metadata]).toEqual(metadata);
    expect([...header.tensors.keys()]).toEqual(["__proto__"]);
  });

  test("bytes behind the last tensor are nobody's business", async () => {
    expect((await read(Buffer.concat([writeGguf({ tensors: [A] }), bytes(40)]))).tensors.size).toBe(1);
  });
});

describe("what is read", () => {
  const vocabulary = texts(Array.from({ length: 60_000 }, (_, i) => `token ${i} `.repeat(3)));

  test("a long vocabulary is read in few ranges that grow, the tensors not at all", async () => {
    const data = 2 ** 20; // bytes that are there
    const shape = [2 ** 21, 2 ** 10]; // 8 GiB
    const tensor: WrittenTensor = { name: "t", dtype: "F32", shape, bytes: bytes(data) };
    const file = writeGguf({ metadata: { "tokenizer.ggml.tokens": vocabulary, last: u32(7) }, tensors: [tensor] });
    const source = memorySource(file, "m.gguf", file.length - data + 2 ** 33);
    const { metadata, tensors } = await readGgufHeader(source);
    expect((metadata.get("tokenizer.ggml.tokens") as string[])[59_999]).toBe("token 59999 ".repeat(3));
    expect(metadata.get("last")).toBe(7);
    expect(tensors.get("t")?.byteLength).toBe(2 ** 33);
    const headerBytes = file.length - data;
    expect(source.reads.length).toBeLessThanOrEqual(6);
    expect(source.reads.reduce((sum, length) => sum + length, 0)).toBeLessThan(2 * headerBytes + 2 ** 18);
  });

  test("an abort ends it between two ranges, with the signal's reason", async () => {
    const controller = new AbortController();
    const source = memorySource(writeGguf({ metadata: { "tokenizer.ggml.tokens": vocabulary } }));
    const aborting = {
      ...source,
      read: (...[offset, length, signal]: Parameters<typeof source.read>) => {
        if (source.reads.length === 1) controller.abort(new Error("enough"));
        return source.read(offset, length, signal);
      },
    };
    expect(await failure(readGgufHeader(aborting, controller.signal))).toMatchObject({ message: "enough" });
    expect(source.reads.length).toBe(1);
  });

  test("millions of empty texts are read once, or twice, not once for each range", async () => {
    const count = 2 ** 22;
    const file = writeGguf({ metadata: { "a.empty": texts([]) } });
    file.writeBigUInt64LE(BigInt(count), file.length - 8);
    const source = memorySource(file, "m.gguf", file.length + 8 * count); // all lengths are 0
    const started = performance.now();
    const { metadata } = await readGgufHeader(source);
    expect(performance.now() - started).toBeLessThan(20_000);
    expect(metadata.get("a.empty")).toHaveLength(count);
    expect(source.reads.length).toBeLessThanOrEqual(9);
    expect(source.reads.reduce((sum, length) => sum + length, 0)).toBe(source.size);
  });

  test("a header without an end is given up", async () => {
    const file = writeGguf({ metadata: { "a.long": texts(["x"]) } });
    file.writeBigUInt64LE(2n ** 36n, file.length - 9); // the text's length
    const source = memorySource(file, "m.gguf", 2 ** 40);
    const error = await failure(readGgufHeader(source));
    expect(error).toBeInstanceOf(FileFormatError);
    expect((error as Error).message).toMatch(/a\.long.*68719476\d+ bytes or more, expected at most 67108864 bytes/);
    expect(Math.max(...source.reads)).toBeLessThanOrEqual(2 ** 18);
  });
});

describe("damaged files", () => {
  const file = (written: WrittenFile) => () => writeGguf(written);
  const whole = writeGguf({ metadata: { "a.key": "text", "a.flags": numbers("bool", [1, 0]) }, tensors: [A, B] });
  /** The whole file with bytes replaced, found by what stands before them. */
  const edited =
    (before: string, skip: number, ...put: number[]) =>
    () => {
      const copy = Buffer.from(whole);
      copy.set(put, copy.indexOf(before) + before.length + skip);
      return copy;
    };
  const cases: [string, () => Uint8Array, string, RegExp][] = [
    ["an empty file", () => bytes(0), "magic number", /file of 0 bytes, expected at least 4 bytes/],
    ["seven bytes", () => whole.subarray(0, 7), "version", /file of 7 bytes, expected at least 8/],
    ["another file", () => Buffer.from('{"a": 1}'), "magic number", /"\{\\"a\\"".*"GGUF"/],
    ["more tensors than there is room for", file({ tensorCount: 2n ** 64n - 1n }), "tensor count", /18446744073709552/],
    ["more metadata than there is room for", file({ metadataCount: 3 }), "metadata count", /found 3, .* the 0 that/],
    ["one tensor too many", file({ tensors: [A], tensorCount: 2 }), "name of tensor 1", /0 bytes, expected 1 to 65535/],
    ["an empty name", file({ metadata: { "": "x" } }), "name of metadata entry 0", /0 bytes/],
    ["a huge name", edited("GGUF", 20, 0, 0, 1, 0), "name of metadata entry 0", /65536 bytes/],
    ["a name that is not UTF-8", edited("a", 1, 0xff), "name of metadata entry 0", /not UTF-8/],
    ["a text that is not UTF-8", file({ metadata: { k: Uint8Array.of(0xc3) } }), "k", /not UTF-8/],
    [
      "a text beyond the file's end",
      edited("a.key", 4, 0, 1, 0, 0, 1),
      "a.key",
      /at least 4294967\d+ bytes: it is trunc/,
    ],
    ["a value of no type", edited("a.key", 0, 13), "a.key", /type 13/],
    ["an array of no type", edited("a.flags", 4, 13), "a.flags", /type 13/],
    [
      "an array longer than the file",
      edited("a.flags", 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
      "a.flags",
      /18446744/,
    ],
    ["a truth value of 2", edited("a.flags", 16, 2), "a.flags", /neither/],
    [
      "arrays nested deeper",
      file({ metadata: { k: arrays([arrays([arrays([arrays([texts([])])])])]) } }),
      "k",
      /4 levels/,
    ],
    [
      "a key twice",
      file({
        metadata: [
          ["k", "1"],
          ["k", "2"],
        ],
      }),
      "k",
      /second entry/,
    ],
    ["an alignment of 0", file({ metadata: { "general.alignment": u32(0) } }), "general.alignment", /found 0/],
    ["an alignment of 24", file({ metadata: { "general.alignment": u32(24) } }), "general.alignment", /found 24/],
    ["an alignment in words", file({ metadata: { "general.alignment": "8" } }), "general.alignment", /"8"/],
    ["a tensor twice", file({ tensors: [A, A] }), "a", /second tensor/],
    ["five dimensions", file({ tensors: [{ ...A, shape: [1, 1, 1, 2, 3] }] }), "a.shape", /5 dimensions/],
    ["a part of a block", file({ tensors: [{ ...B, shape: [4, 48] }] }), "b.shape", /\[4, 48\].* multiple of 32/],
    ["no row of blocks", file({ tensors: [{ ...B, shape: [] }] }), "b.shape", /multiple of 32/],
    ["sizes beyond counting", file({ tensors: [{ ...A, shape: [2n ** 32n, 2n ** 32n] }] }), "a.shape", /4294967296/],
    ["a size beyond counting times none", file({ tensors: [{ ...A, shape: [2n ** 63n, 0] }] }), "a.shape", /9223372/],
    ["an offset between two places", file({ tensors: [A, { ...B, offset: 40 }] }), "b.offset", /40.*multiple of 32/],
    ["tensors that overlap", file({ tensors: [A, { ...B, offset: 0 }] }), "b.offset", /found 0, an overlap with a/],
    ["a hole between tensors", file({ tensors: [A, { ...B, offset: 64 }] }), "b.offset", /found 64, a hole after a/],
    [
      "an offset beyond counting",
      file({ tensors: [{ ...A, offset: 2n ** 64n - 32n }] }),
      "a.offset",
      /a hole after the header/,
    ],
    [
      "a shape larger than its bytes",
      file({ tensors: [{ ...A, shape: [2, 12] }, B] }),
      "b.offset",
      /an overlap with a/,
    ],
    ["a file that ends within a tensor", () => whole.subarray(0, -1), "b.offset", /truncated/],
  ];
  for (const [what, make, field, message] of cases) {
    test(`${what}: the error names the file, the field and both values`, async () => {
      const error = await failure(read(make()));
      expect(error).toBeInstanceOf(FileFormatError);
      expect(error).toMatchObject({ code: "file-format", file: "m.gguf", field });
      expect((error as Error).message).toMatch(message);
      expect((error as Error).message.length).toBeLessThan(600);
    });
  }

  test("a file cut off anywhere is refused", async () => {
    for (let length = 0; length < whole.length; length++) {
      expect(await failure(read(whole.subarray(0, length))), `${length} bytes`).toBeInstanceOf(FileFormatError);
    }
  });
});

describe("files of another kind", () => {
  const unsupported = async (bytes: Uint8Array) => {
    const error = await failure(read(bytes));
    expect(error).toBeInstanceOf(UnsupportedModelError);
    return error as UnsupportedModelError;
  };

  test("big endian", async () => {
    const error = await unsupported(writeGguf({ version: 0x03000000 }));
    expect(error).toMatchObject({ file: "m.gguf", field: "version", found: "big endian numbers" });
    expect(error.expected).toMatch(/little endian/);
  });

  test.each([0, 1, 4])("version %d", async (version) => {
    const error = await unsupported(writeGguf({ version }));
    expect(error).toMatchObject({ field: "version", found: `version ${version}` });
  });

  test.each([
    [16, "IQ2_XXS"],
    [39, "MXFP4"],
    [1000, "type 1000"],
  ])("a tensor of type %d: the error lists the types there are", async (dtype, found) => {
    const error = await unsupported(writeGguf({ tensors: [{ ...A, dtype }] }));
    expect(error).toMatchObject({ field: "a.type", found });
    for (const type of Object.keys(TENSOR_TYPES)) expect(error.expected).toContain(type);
  });
});

const REAL = join(import.meta.dirname, "../../../shared/assets/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");

test.skipIf(!existsSync(REAL))(`${basename(REAL)} as it is`, async () => {
  const file = openSync(REAL, "r");
  const { size } = fstatSync(file);
  const source: Source = {
    name: REAL,
    size,
    async read(offset, length) {
      const bytes = new Uint8Array(length);
      expect(readSync(file, bytes, 0, length, offset)).toBe(length);
      return bytes;
    },
    async close() {},
  };
  try {
    const started = performance.now();
    const { metadata, tensors } = await readGgufHeader(source);
    expect(performance.now() - started).toBeLessThan(5000);
    expect(metadata.size).toBe(33);
    expect(metadata.get("general.architecture")).toBe("llama");
    expect(metadata.get("llama.rope.freq_base")).toBe(100000);
    expect((metadata.get("tokenizer.ggml.tokens") as string[])[1]).toBe("<|im_start|>");
    expect(metadata.get("tokenizer.ggml.merges")).toHaveLength(48900);
    expect(tensors.size).toBe(272);
    expect(tensors.get("token_embd.weight")).toMatchObject({ dtype: "Q8_0", shape: [49152, 576] });
    expect(tensors.get("blk.0.ffn_down.weight")).toMatchObject({ dtype: "Q4_1", shape: [576, 1536] });
    const ends = [...tensors.values()].map(({ offset, byteLength }) => offset + byteLength);
    expect(Math.max(...ends)).toBe(size);
  } finally {
    closeSync(file);
  }
});
