/**
 * The cases: each kernel with its buffers, as a model's forward pass binds them, for each number of rows; and what one call
 * moves and computes.
 *
 * Bytes are those that must be moved: every input and output once, however often a kernel reads them. Operations are
 * multiplications and additions; what decoding codes takes is not among them.
 */

import { LayerKernels, type Product, type ProductParts, type Regime } from "../../src/forward/layer_kernels.ts";
import type { Recorder } from "../../src/gpu/commands.ts";
import type { Device } from "../../src/gpu/device.ts";
import { attentionShape } from "../../src/kernels/attention_shape.ts";
import type { KernelChoice } from "../../src/kernels/choice.ts";
import { embeddingShape } from "../../src/kernels/embedding.ts";
import { KV_BYTES } from "../../src/kernels/kv_format.ts";
import type { ManyRowForm } from "../../src/kernels/many_row_matmul.ts";
import { kindName, type MatmulForm, type MatmulKind, streamStride } from "../../src/kernels/matmul_form.ts";
import { rmsNormShape } from "../../src/kernels/rms_norm.ts";
import { paddedSize, type WeightFormat } from "../../src/kernels/weight_format.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import type { MatrixPart } from "../../src/weights/held_weights.ts";
import type { BenchRows } from "./bench_rows.ts";
import { type KernelName, PRODUCTS, type ProductName } from "./names.ts";
import { matrixBytes, matrixSizes, POSITIONS, type Position, PROMPT_ROWS, type ShapeData } from "./shape_data.ts";
import type { Timed } from "./timing.ts";

/** A kernel, or several dispatches that do one thing, with a number of rows. */
export interface KernelCase extends Timed {
  kernel: KernelName;
  rows: number;
  /** Position of the first row, where the time depends on it. */
  position?: Position;
  /** Bytes that a call must move. */
  bytes: number;
  /** Floating-point operations of a call. */
  operations: number;
  /** Bytes of the constant data that calls go through before one meets the first call's again. */
  workingSetBytes: number;
}

/** Words a product reads and writes of each row. */
function rowFloats(name: ProductName | "head", { inputSize, columns }: { inputSize: number; columns: number }): number {
  switch (name) {
    case "qkv":
      return 2 * inputSize + columns; // the stream, and the stream times the norm's weight
    case "gated":
      return 2 * inputSize + columns / 2;
    case "head":
      return inputSize; // the candidates are a handful
    default:
      return inputSize + 3 * columns; // the stream is read and written, and written times the next norm's weight
  }
}

/** Multiplications and additions of attention: scores, and sums of values. */
function attentionOperations({ heads, headDim }: ModelSpec, firstPosition: number, rows: number): number {
  const keys = Array.from({ length: rows }, (_, row) => firstPosition + row + 1).reduce((a, b) => a + b, 0);
  return 4 * heads * headDim * keys;
}

export class CaseBuilder {
  readonly #data: ShapeData;
  readonly #choice: KernelChoice;
  readonly #kernels: LayerKernels;
  readonly #rows: readonly number[];
  /** The kinds of products of generated rows. */
  readonly #generated = new Map<string, MatmulKind>();
  readonly #prompt = new Map<string, MatmulKind<ManyRowForm>>();

  /** @param rows numbers of generated rows */
  constructor(device: Device, data: ShapeData, choice: KernelChoice, rows: readonly number[]) {
    this.#data = data;
    this.#choice = choice;
    this.#rows = rows;
    this.#kernels = new LayerKernels(device, data.spec, choice);
  }

  /** The cases of these kernels, in the order of `names`. */
  build(names: readonly KernelName[]): KernelCase[] {
    return names.flatMap((name) => this.#casesOf(name));
  }

  /** Compiles what the built cases need. */
  async prepare(): Promise<void> {
    await this.#kernels.prepare(this.#rows, [...this.#generated.values()], [...this.#prompt.values()]);
  }

  #casesOf(name: KernelName): KernelCase[] {
    switch (name) {
      case "head":
        return this.#headCases();
      case "attention":
        return POSITIONS.flatMap((position) => this.#attentionCases(position));
      case "prompt-attention":
        return [this.#promptAttentionCase()];
      case "norm":
        return this.#normCases();
      case "embedding":
        return this.#embeddingCases();
      default: {
        const product = PRODUCTS.find((known) => name.endsWith(known))!;
        return name === product ? this.#productCases(name) : [this.#promptProductCase(name, product)];
      }
    }
  }

  #productCases(name: ProductName): KernelCase[] {
    const at = this.#data.rows[POSITIONS[0]];
    const products = this.#data.matrices(name).map((parts) => this.#bind(name, parts, "generated", at));
    return this.#rows.map((rows) => this.#productCase(name, name, products, at, rows));
  }

  #promptProductCase(kernel: KernelName, name: ProductName): KernelCase {
    const at = this.#data.rows.prompt;
    const products = this.#data.matrices(name).map((parts) => this.#bind(name, parts, "prompt", at));
    return this.#productCase(kernel, name, products, at, PROMPT_ROWS);
  }

  #productCase(
    kernel: KernelName,
    name: ProductName,
    products: readonly Product[],
    at: BenchRows,
    rows: number,
  ): KernelCase {
    const size = matrixSizes(this.#data.spec)[name];
    const [[{ format } = raise(name)] = []] = this.#data.matrices(name);
    const matrix = matrixBytes(format, size.inputSize, size.columns);
    const set = at.of(rows);
    return {
      kernel,
      rows,
      bytes: matrix + 4 * rows * rowFloats(name, size),
      operations: 2 * rows * size.inputSize * size.columns,
      workingSetBytes: products.length * matrix,
      record: (recorder, call) => inTurn(products, call)(recorder, set),
    };
  }

  /** A layer's product with one copy of its matrix, as `Forward` binds it. */
  #bind(name: ProductName, parts: readonly MatrixPart[], regime: Regime, at: BenchRows): Product {
    const products = parts.map((part) => this.#bindPart(name, part, regime, at));
    return (recorder, rows) => {
      for (const product of products) product(recorder, rows);
    };
  }

  #bindPart(name: ProductName, matrix: MatrixPart, regime: Regime, at: BenchRows): Product {
    const { spec, activations, normWeight, rotations, constants } = this.#data;
    const { stream, queries, attended, gated } = activations;
    const { format, weight, scales, inputSize, columns } = matrix;
    const shared = { range: at.ranges, weight, scales };
    const uniform = (words: Uint32Array<ArrayBuffer>) => constants.uniform(words);
    const kernels = this.#kernels;
    const product = <F extends ManyRowForm>(form: F, parts: Omit<ProductParts<F>, "uniform">) =>
      regime === "generated"
        ? kernels.generated(this.#kind(form, format), { ...parts, uniform })
        : kernels.prompt(this.#promptKind(form, format), { ...parts, uniform });
    switch (name) {
      case "qkv": {
        const size = { inputSize, outputs: columns / 2, epsilon: spec.rmsNormEps, headShape: spec };
        const [cache = raise(name)] = this.#data.caches(this.#choice.kv, POSITIONS[0]);
        return product("qkv", {
          size,
          buffers: { ...shared, ...cache, input: stream, rows: at.rows, rotations, queries },
        });
      }
      case "gated": {
        const resultStride = paddedSize(spec.intermediateSize);
        const result = { resultStride, resultOffset: matrix.firstColumn };
        const size = { inputSize, outputs: columns / 2, epsilon: spec.rmsNormEps, ...result };
        return product("gated", { size, buffers: { ...shared, input: stream, output: gated } });
      }
      default: {
        const input = name === "output" ? attended : gated;
        return product("add", {
          size: { inputSize, outputs: columns },
          buffers: { ...shared, input, normWeight, stream },
        });
      }
    }
  }

  /** Notes that a product of generated rows is needed. */
  #kind<F extends MatmulForm>(form: F, format: WeightFormat): MatmulKind<F> {
    const kind: MatmulKind<F> = { form, format, kv: this.#choice.kv };
    this.#generated.set(kindName(kind), kind);
    return kind;
  }

  /** Notes that a product of a prompt's rows is needed. */
  #promptKind<F extends ManyRowForm>(form: F, format: WeightFormat): MatmulKind<F> {
    const kind: MatmulKind<F> = { form, format, kv: this.#choice.kv };
    this.#prompt.set(kindName(kind), kind);
    return kind;
  }

  #headCases(): KernelCase[] {
    const { spec, rows: tables } = this.#data;
    const at = tables[POSITIONS[0]];
    const heads = this.#data.heads().map((parts) => this.#bindHead(parts, at));
    const size = { inputSize: spec.hiddenSize, columns: spec.vocabSize };
    const bytes = this.#headBytes();
    return this.#rows.map((rows) => {
      const set = at.of(rows);
      return {
        kernel: "head",
        rows,
        bytes: bytes + 4 * rows * rowFloats("head", size),
        operations: 2 * rows * size.inputSize * size.columns,
        workingSetBytes: heads.length * bytes,
        record: (recorder, call) => {
          for (const part of inTurn(heads, call)) part(recorder, set);
        },
      };
    });
  }

  #headBytes(): number {
    const [parts = raise("head")] = this.#data.heads();
    return parts.reduce((sum, part) => sum + matrixBytes(part.format, part.inputSize, part.columns), 0);
  }

  #bindHead(parts: readonly MatrixPart[], at: BenchRows): Product[] {
    const { activations, constants } = this.#data;
    const { normed: input, candidates } = activations;
    const counts = this.#data.candidateCounts(this.#choice);
    const resultStride = counts.reduce((sum, count) => sum + count, 0);
    let resultOffset = 0;
    return parts.map(({ format, weight, scales, inputSize, columns, firstColumn: firstId }, i) => {
      const size = { inputSize, outputs: columns, resultStride, resultOffset, firstId };
      resultOffset += counts[i]!;
      return this.#kernels.generated(this.#kind("headArgmax", format), {
        size,
        buffers: { range: at.ranges, weight, scales, input, candidates },
        uniform: (words) => constants.uniform(words),
      });
    });
  }

  #attentionCases(position: Position): KernelCase[] {
    const { spec, activations, constants, rows: tables } = this.#data;
    const { queries, attended, partialSums, partialSoftmax } = activations;
    const { generated } = this.#kernels.attention;
    const at = tables[position];
    const length = POSITIONS[POSITIONS.length - 1]! + Math.max(...this.#rows);
    const shape = constants.uniform(attentionShape(spec, length));
    const buffers = { range: at.ranges, rows: at.rows, pages: at.pages };
    const shared = { ...buffers, shape, queries, attended, partialSums, partialSoftmax };
    const groups = this.#data.caches(this.#choice.kv, position).map((cache) => generated.bind({ ...shared, ...cache }));
    return this.#rows.map((rows) => {
      const set = at.of(rows);
      const record = (recorder: Recorder, call: number) => generated.dispatch(recorder, inTurn(groups, call), set);
      return { ...this.#attentionCase("attention", position, rows, groups.length), position, record };
    });
  }

  #promptAttentionCase(): KernelCase {
    const { spec, activations, constants, rows: tables } = this.#data;
    const { queries, attended } = activations;
    const { prompt } = this.#kernels.attention;
    const at = tables.prompt;
    const shape = constants.uniform(attentionShape(spec, POSITIONS[0]));
    const shared = { range: at.ranges, shape, rows: at.rows, pages: at.pages, queries, attended };
    const caches = this.#data.caches(this.#choice.kv, POSITIONS[0]);
    const groups = caches.map((cache) => prompt.bind({ ...shared, ...cache }));
    const set = at.of(PROMPT_ROWS);
    return {
      ...this.#attentionCase("prompt-attention", POSITIONS[0] - PROMPT_ROWS, PROMPT_ROWS, groups.length),
      record: (recorder, call) => prompt.dispatch(recorder, inTurn(groups, call), set),
    };
  }

  /** What attention moves and computes, for rows at `first`, `first + 1`, ... */
  #attentionCase(kernel: KernelName, first: number, rows: number, copies: number): Omit<KernelCase, "record"> {
    const { spec } = this.#data;
    const { heads, kvHeads, headDim } = spec;
    const cacheBytes = 2 * (first + rows) * kvHeads * headDim * KV_BYTES[this.#choice.kv];
    return {
      kernel,
      rows,
      bytes: cacheBytes + 4 * rows * 2 * heads * headDim, // queries and results
      operations: attentionOperations(spec, first, rows),
      workingSetBytes: copies * cacheBytes,
    };
  }

  #normCases(): KernelCase[] {
    const { spec, activations, constants, normWeight: weight, rows: tables } = this.#data;
    const { hiddenSize, rmsNormEps } = spec;
    const { stream: hidden, normed } = activations;
    const at = tables[POSITIONS[0]];
    const shape = constants.uniform(
      rmsNormShape(hiddenSize, rmsNormEps, streamStride(hiddenSize), paddedSize(hiddenSize)),
    );
    const kernel = this.#kernels.finalNorm;
    const group = kernel.bind({ range: at.ranges, shape, hidden, weight, normed });
    return this.#rows.map((rows) => ({
      kernel: "norm",
      rows,
      bytes: 4 * hiddenSize * (2 * rows + 1),
      operations: 4 * hiddenSize * rows,
      workingSetBytes: 4 * hiddenSize * (2 * rows + 1),
      record: (recorder) => kernel.dispatch(recorder, group, at.of(rows)),
    }));
  }

  #embeddingCases(): KernelCase[] {
    const { spec, activations, constants, normWeight, rows: tables } = this.#data;
    const { hiddenSize, vocabSize } = spec;
    const { stream } = activations;
    const at = tables[POSITIONS[0]];
    const [parts = raise("embedding")] = this.#data.heads();
    const bound = parts.map(({ format, weight, scales, columns, firstColumn: firstId }) => {
      const kernel = this.#kernels.embedding(format);
      const shape = constants.uniform(embeddingShape({ hiddenSize, columns, firstId, vocabSize }));
      const group = kernel.bind({ range: at.ranges, shape, rows: at.rows, weight, scales, normWeight, stream });
      return { kernel, group };
    });
    const elements = this.#headBytes() / vocabSize;
    return this.#rows.map((rows) => ({
      kernel: "embedding",
      rows,
      bytes: rows * (elements + 8 * hiddenSize) + 4 * hiddenSize,
      operations: 2 * hiddenSize * rows,
      workingSetBytes: rows * (elements + 8 * hiddenSize) + 4 * hiddenSize,
      record: (recorder) => {
        for (const { kernel, group } of bound) kernel.dispatch(recorder, group, at.of(rows), hiddenSize);
      },
    }));
  }
}

/** The copy that a call takes. */
function inTurn<T>(copies: readonly T[], call: number): T {
  return copies[call % copies.length]!;
}

function raise(name: string): never {
  throw new RangeError(`${name}: there is no copy of its data`);
}
