/**
 * What the kernels of a shape work on: constant data that streams past (matrices, keys and values), in as many copies as it
 * takes to get past the caches, and the activations of the rows.
 */

import { type Activations, createActivations } from "../../src/forward/activations.ts";
import { Constants } from "../../src/forward/constants.ts";
import type { Device } from "../../src/gpu/device.ts";
import { BufferUsage } from "../../src/gpu/usage.ts";
import type { KernelChoice } from "../../src/kernels/choice.ts";
import { fewRowGroups } from "../../src/kernels/few_row_variant.ts";
import { KV_BYTES, type KvType } from "../../src/kernels/kv_format.ts";
import { ropeRotations } from "../../src/kernels/rope.ts";
import { isBlockFormat, scaleBytes, type WeightFormat, weightBytes } from "../../src/kernels/weight_format.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import type { Dtype } from "../../src/types.ts";
import { type ColumnRun, columnRuns } from "../../src/weights/column_runs.ts";
import { formatsOf } from "../../src/weights/dtype.ts";
import type { Matrix, MatrixPart } from "../../src/weights/held_weights.ts";
import { BenchRows } from "./bench_rows.ts";
import { Filler } from "./filler.ts";
import type { ProductName } from "./names.ts";
import { copiesOf } from "./working_set.ts";

/** Positions that attention of generated rows is measured at; the other kernels do not depend on them. */
export const POSITIONS = [500, 4000] as const;
export type Position = (typeof POSITIONS)[number];

/** Rows of a prompt. They end where the rows at the first of `POSITIONS` begin. */
export const PROMPT_ROWS = 128;

/** One layer's keys and values. */
export interface LayerCache {
  keys: GPUBuffer;
  values: GPUBuffer;
}

/** What is to be measured. */
export interface DataOptions {
  dtype: Dtype;
  /** Numbers of generated rows. */
  rows: readonly number[];
  /** The kernels to come: they decide how large results are. */
  choices: readonly KernelChoice[];
}

const { STORAGE, COPY_DST } = BufferUsage;

/** Inputs and columns of a layer's matrices, by the product they serve. */
export function matrixSizes(spec: ModelSpec): Record<ProductName, { inputSize: number; columns: number }> {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = spec;
  return {
    qkv: { inputSize: hiddenSize, columns: (heads + 2 * kvHeads) * headDim },
    output: { inputSize: heads * headDim, columns: hiddenSize },
    gated: { inputSize: hiddenSize, columns: 2 * intermediateSize },
    down: { inputSize: intermediateSize, columns: hiddenSize },
  };
}

/** Bytes of a matrix with its scales: what reading it moves. */
export function matrixBytes(format: WeightFormat, inputSize: number, columns: number): number {
  const scales = isBlockFormat(format) ? scaleBytes(format, inputSize, columns) : 0;
  return weightBytes(format, inputSize, columns) + scales;
}

/** Bytes that the matrices of so many layers and the head take, one copy of each. */
export function leastBytes(spec: ModelSpec, dtype: Dtype, layers = 1): number {
  const formats = formatsOf(dtype);
  const sizes = Object.values(matrixSizes(spec));
  const layer = sizes.map(({ inputSize, columns }) => matrixBytes(formats.layers, inputSize, columns));
  return layers * layer.reduce((a, b) => a + b, 0) + matrixBytes(formats.head, spec.hiddenSize, spec.vocabSize);
}

function kvName(type: KvType, position: Position): string {
  return `${type} keys and values to ${position}`;
}

/** Buffers are made when they are first asked for. They are booked as everything else is: the ledger releases them. */
export class ShapeData {
  readonly spec: ModelSpec;
  readonly constants: Constants;
  readonly activations: Activations;
  readonly normWeight: GPUBuffer;
  readonly rotations: GPUBuffer;
  /** Generated rows at each position, and those of a prompt. */
  readonly rows: Readonly<Record<Position | "prompt", BenchRows>>;
  readonly #device: Device;
  readonly #formats: ReturnType<typeof formatsOf>;
  readonly #filler: Filler;
  readonly #mostRows: number;
  readonly #copies: ReadonlyMap<string, number>;
  readonly #matrices = new Map<ProductName, MatrixPart[][]>();
  readonly #caches = new Map<string, LayerCache[]>();
  #heads: MatrixPart[][] | undefined;

  constructor(device: Device, spec: ModelSpec, { dtype, rows, choices }: DataOptions) {
    this.spec = spec;
    this.#device = device;
    this.#formats = formatsOf(dtype);
    this.#filler = new Filler(device);
    this.#mostRows = Math.max(...rows);
    const sizes = this.#streamSizes(new Set(choices.map(({ kv }) => kv)));
    const counts = device.info.software ? sizes.map(() => 1) : copiesOf(sizes.map(([, bytes]) => bytes));
    this.#copies = new Map(sizes.map(([name], i) => [name, counts[i]!]));

    const [near, far] = POSITIONS;
    const candidates = Math.max(...choices.map((choice) => this.candidateCounts(choice).reduce((a, b) => a + b, 0)));
    this.activations = createActivations(device, spec, far + this.#mostRows, candidates);
    for (const buffer of Object.values<GPUBuffer>({ ...this.activations })) this.#filler.floats(buffer);
    this.normWeight = this.#buffer("norm weight", spec.hiddenSize * 4, { type: "f32" });
    this.constants = new Constants(device);
    const rotations = ropeRotations(near + this.#mostRows, spec.headDim, spec.attention[0]!.rope);
    this.rotations = this.constants.storage("rotations", rotations);
    this.rows = {
      [near]: new BenchRows(device, spec.vocabSize, near, rows),
      [far]: new BenchRows(device, spec.vocabSize, far, rows),
      prompt: new BenchRows(device, spec.vocabSize, near - PROMPT_ROWS, [PROMPT_ROWS]),
    };
  }

  /** Candidates a row that each part of the head leaves. */
  candidateCounts({ fewRows }: KernelChoice): number[] {
    return this.#headRuns().map(({ count }) => fewRowGroups("headArgmax", count, fewRows));
  }

  /** Copies of a layer's matrix, each in its parts: gate and up may have several. */
  matrices(name: ProductName): readonly (readonly MatrixPart[])[] {
    return kept(this.#matrices, name, () => {
      const { layers } = this.#formats;
      const { inputSize, columns } = matrixSizes(this.spec)[name];
      if (name !== "gated") {
        return this.#times(name, () => [{ ...this.#matrix(name, layers, inputSize, columns), firstColumn: 0 }]);
      }
      const runs = columnRuns(layers, inputSize, columns / 2, this.#device.ledger.bindableBytes, 2);
      return this.#times(name, () =>
        runs.map(({ first, count }) => ({ ...this.#matrix(name, layers, inputSize, 2 * count), firstColumn: first })),
      );
    });
  }

  /** Copies of the head, each in its parts. */
  heads(): readonly (readonly MatrixPart[])[] {
    this.#heads ??= this.#times("head", () =>
      this.#headRuns().map(({ first, count }) => ({
        ...this.#matrix("head", this.#formats.head, this.spec.hiddenSize, count),
        firstColumn: first,
      })),
    );
    return this.#heads;
  }

  /** Copies of a layer's keys and values, to the end of the rows at `position`. */
  caches(type: KvType, position: Position): readonly LayerCache[] {
    const name = kvName(type, position);
    return kept(this.#caches, name, () => {
      const bytes = this.#cacheBytes(type, position) / 2;
      const buffer = (what: string) => this.#buffer(`${what}, ${name}`, bytes, { type });
      return this.#times(name, () => ({ keys: buffer("keys"), values: buffer("values") }));
    });
  }

  #streamSizes(kvTypes: ReadonlySet<KvType>): [name: string, bytes: number][] {
    const layer = Object.entries(matrixSizes(this.spec)).map(([name, { inputSize, columns }]): [string, number] => [
      name,
      matrixBytes(this.#formats.layers, inputSize, columns),
    ]);
    const { hiddenSize, vocabSize } = this.spec;
    const caches = [...kvTypes].flatMap((type) =>
      POSITIONS.map((position): [string, number] => [kvName(type, position), this.#cacheBytes(type, position)]),
    );
    return [...layer, ["head", matrixBytes(this.#formats.head, hiddenSize, vocabSize)], ...caches];
  }

  #cacheBytes(type: KvType, position: Position): number {
    const { kvHeads, headDim } = this.spec;
    return 2 * (position + this.#mostRows) * kvHeads * headDim * KV_BYTES[type];
  }

  #headRuns(): ColumnRun[] {
    const { hiddenSize, vocabSize } = this.spec;
    return columnRuns(this.#formats.head, hiddenSize, vocabSize, this.#device.ledger.bindableBytes);
  }

  #matrix(name: string, format: WeightFormat, inputSize: number, columns: number): Matrix {
    const weight = this.#buffer(name, weightBytes(format, inputSize, columns), format);
    const scales = this.#buffer(`${name}, scales`, scaleBytes(format, inputSize, columns), { type: "f16" });
    return { format, weight, scales, inputSize, columns, bias: false };
  }

  #buffer(name: string, bytes: number, { type }: { type: WeightFormat["type"] }): GPUBuffer {
    const buffer = this.#device.ledger.allocate("data", name, bytes, STORAGE | COPY_DST);
    if (type === "f32") this.#filler.floats(buffer);
    else this.#filler.words(buffer);
    return buffer;
  }

  #times<T>(stream: string, make: () => T): T[] {
    return Array.from({ length: this.#copies.get(stream) ?? 1 }, make);
  }
}

function kept<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  const value = map.get(key) ?? make();
  map.set(key, value);
  return value;
}
