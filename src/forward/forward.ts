/**
 * The forward pass: rows go through a run of layers.
 *
 * `forward(rows, fromLayer, toLayer)` is the only way through the layers. A plain step is one row through all of them, a
 * draft is one row through the first E, a verification several rows through the rest, a chunk of the prompt some hundred
 * rows through all. The residual stream of row r stays in `stream[r]` between calls: after the draft it is the exit hidden
 * state that the verification goes on from (the exit-query cache of LayerSkip), without a copy.
 *
 * A row's kernels follow its regime, never the number of rows: rows of a prompt take the many-row kernels, generated rows
 * the few-row ones.
 */

import { GpuError } from "../errors.ts";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { attentionShape } from "../kernels/attention_shape.ts";
import type { KernelChoice } from "../kernels/choice.ts";
import { ROW_CAPACITY } from "../kernels/constants.ts";
import { embeddingShape } from "../kernels/embedding.ts";
import type { FewQueryGroups } from "../kernels/few_query_attention.ts";
import { fewRowGroups } from "../kernels/few_row_matmul.ts";
import type { RowSet } from "../kernels/kernel.ts";
import type { ManyRowForm } from "../kernels/many_row_matmul.ts";
import { type MatmulBinding, type MatmulForm, type MatmulSize, streamStride, widthOf } from "../kernels/matmul_form.ts";
import { rmsNormShape } from "../kernels/rms_norm.ts";
import { ropeRotations } from "../kernels/rope.ts";
import { paddedSize } from "../kernels/weight_format.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Matrix, ModelWeights } from "../weights/upload.ts";
import { type Activations, createActivations } from "./activations.ts";
import { Constants } from "./constants.ts";
import type { KvCache } from "./kv_cache.ts";
import { LayerKernels, type Product, type ProductParts, type Regime } from "./layer_kernels.ts";
import type { RowTable } from "./row_table.ts";

/** Rows on their way through the layers. */
export interface PassRows extends RowSet {
  regime: Regime;
}

/** A product for rows of both regimes. */
type Products = Record<Regime, Product>;

/** One layer's kernels with their buffers, in the order they are dispatched. */
interface BoundLayer {
  qkv: Products;
  attention: { generated: FewQueryGroups; prompt: GPUBindGroup };
  output: Products;
  gated: Products;
  down: Products;
}

/** The buffers of a form that are not those of every matmul. */
type FormBuffers<F extends MatmulForm> = Omit<
  Record<MatmulBinding<F>, GPUBuffer>,
  "range" | "shape" | "weight" | "scales"
>;

export class Forward {
  readonly spec: ModelSpec;
  /** `[rows][candidatesPerRow]` (logit, id): what `argmax` leaves. */
  readonly candidates: GPUBuffer;
  readonly candidatesPerRow: number;
  readonly #device: Device;
  readonly #weights: ModelWeights;
  readonly #table: RowTable;
  readonly #kernels: LayerKernels;
  readonly #constants: Constants;
  readonly #activations: Activations;
  readonly #embedding: ((recorder: Recorder, rows: RowSet) => void)[];
  readonly #layers: BoundLayer[];
  readonly #finalNorm: GPUBindGroup;
  readonly #headArgmax: Product[];
  #headLogits: { store: Product[]; logits: GPUBuffer } | undefined;

  constructor(
    device: Device,
    spec: ModelSpec,
    weights: ModelWeights,
    kv: KvCache,
    table: RowTable,
    contextLength: number,
    choice: KernelChoice,
  ) {
    this.spec = spec;
    this.#device = device;
    this.#weights = weights;
    this.#table = table;
    this.#kernels = new LayerKernels(device, spec, choice);
    this.#constants = new Constants(device);
    const partCandidates = weights.head.map((part) => fewRowGroups("headArgmax", part.columns, choice.fewRows));
    this.candidatesPerRow = partCandidates.reduce((sum, count) => sum + count, 0);
    this.#activations = createActivations(device, spec, contextLength, this.candidatesPerRow);
    this.candidates = this.#activations.candidates;
    this.#embedding = this.#bindEmbedding();
    this.#layers = this.#bindLayers(kv, contextLength);
    this.#finalNorm = this.#bindFinalNorm();
    let resultOffset = 0;
    this.#headArgmax = weights.head.map((part, i) => {
      const size = { resultStride: this.candidatesPerRow, resultOffset, firstId: part.firstColumn };
      resultOffset += partCandidates[i]!;
      const { normed: input, candidates } = this.#activations;
      return this.#generated("headArgmax", part, size, { input, candidates });
    });
  }

  /** What this device cannot do to the bit, and what that costs. */
  get warnings(): string[] {
    return this.#kernels.warnings;
  }

  /** Whether a verification reads the weights once for all its rows; if not, drafting cannot pay. */
  get takesRowsTogether(): boolean {
    return this.#kernels.takesRowsTogether;
  }

  /** Compiles what prompts and passes of these numbers of generated rows need, with `argmax` after them. */
  async prepare(rowCounts: readonly number[]): Promise<void> {
    await this.#kernels.prepare(rowCounts, ["store"]);
  }

  /** Compiles what passes of these numbers of rows of a regime need, with `logits` after them, and allocates the logits. */
  async prepareLogits(rowCounts: readonly number[], regime: Regime): Promise<void> {
    if (!this.#headLogits) {
      const bytes = ROW_CAPACITY * this.spec.vocabSize * 4;
      this.#headLogits = await this.#device.allocating("logits", bytes, () => this.#bindLogits());
    }
    const layers = ["qkv", "add", "gated"] as const;
    await this.#kernels.prepare(rowCounts, regime === "prompt" ? ["headArgmax", ...layers] : ["headArgmax"]);
  }

  /** Records `rows` through layers [fromLayer, toLayer), from their tokens where fromLayer is 0. */
  forward(recorder: Recorder, rows: PassRows, fromLayer: number, toLayer: number): void {
    const { regime } = rows;
    const { attention } = this.#kernels;
    if (fromLayer === 0) for (const embed of this.#embedding) embed(recorder, rows);
    for (const layer of this.#layers.slice(fromLayer, toLayer)) {
      layer.qkv[regime](recorder, rows);
      if (regime === "generated") attention.generated.dispatch(recorder, layer.attention.generated, rows);
      else attention.prompt.dispatch(recorder, layer.attention.prompt, rows);
      layer.output[regime](recorder, rows);
      layer.gated[regime](recorder, rows);
      layer.down[regime](recorder, rows);
    }
  }

  /** Records final norm, head and first stage of the argmax of `rows`, wherever in the layers they are. */
  argmax(recorder: Recorder, rows: RowSet): void {
    this.#kernels.finalNorm.dispatch(recorder, this.#finalNorm, rows);
    for (const part of this.#headArgmax) part(recorder, rows);
  }

  /**
   * Records final norm and head of `rows`, wherever in the layers they are.
   * @param rows among the first `ROW_CAPACITY` of the table
   * @returns the buffer of logits, `[ROW_CAPACITY][vocabSize]` f32, which `prepare` has allocated
   */
  logits(recorder: Recorder, rows: RowSet): GPUBuffer {
    if (!this.#headLogits) throw new GpuError("head", "logits were recorded before they were prepared");
    this.#kernels.finalNorm.dispatch(recorder, this.#finalNorm, rows);
    for (const part of this.#headLogits.store) part(recorder, rows);
    return this.#headLogits.logits;
  }

  #bindEmbedding(): ((recorder: Recorder, rows: RowSet) => void)[] {
    const { hiddenSize, vocabSize } = this.spec;
    const { rows, ranges } = this.#table;
    const normWeight = this.#weights.layers[0]!.inputNorm;
    return this.#weights.embedding.map(({ format, weight, scales, columns, firstColumn: firstId }) => {
      const kernel = this.#kernels.embedding(format);
      const shape = this.#constants.uniform(embeddingShape({ hiddenSize, columns, firstId, vocabSize }));
      const { stream } = this.#activations;
      const group = kernel.bind({ range: ranges, shape, rows, weight, scales, normWeight, stream });
      return (recorder, rowSet) => kernel.dispatch(recorder, group, rowSet, hiddenSize);
    });
  }

  #bindFinalNorm(): GPUBindGroup {
    const { hiddenSize, rmsNormEps } = this.spec;
    const { stream, normed } = this.#activations;
    const shape = rmsNormShape(hiddenSize, rmsNormEps, streamStride(hiddenSize), paddedSize(hiddenSize));
    return this.#kernels.finalNorm.bind({
      range: this.#table.ranges,
      shape: this.#constants.uniform(shape),
      hidden: stream,
      weight: this.#weights.finalNorm,
      normed,
    });
  }

  #bindLogits(): { store: Product[]; logits: GPUBuffer } {
    const { vocabSize } = this.spec;
    const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC;
    const logits = this.#device.ledger.allocate("activations", "logits", ROW_CAPACITY * vocabSize * 4, usage);
    const store = this.#weights.head.map((part) => {
      const size = { resultStride: vocabSize, resultOffset: part.firstColumn };
      return this.#generated("store", part, size, { input: this.#activations.normed, output: logits });
    });
    return { store, logits };
  }

  #bindLayers(kv: KvCache, contextLength: number): BoundLayer[] {
    const { spec } = this;
    const { layers, finalNorm } = this.#weights;
    const { stream, queries, attended, gated, partialSums, partialSoftmax } = this.#activations;
    const { rows, ranges: range } = this.#table;
    const { attention } = this.#kernels;
    const rotations = this.#constants.storage("rotations", ropeRotations(contextLength, spec.headDim, spec.ropeTheta));
    const shape = this.#constants.uniform(
      attentionShape(spec, contextLength, {}, paddedSize(spec.heads * spec.headDim)),
    );
    const normed = { epsilon: spec.rmsNormEps, headShape: spec };
    return layers.map((layer, i) => {
      const cache = { keys: kv.keys[i]!, values: kv.values[i]! };
      const seen = { range, shape, rows, queries, attended, ...cache };
      // What the next block's matmul begins with is made by the one that ends this block.
      const nextNorm = layers[i + 1]?.inputNorm ?? finalNorm;
      return {
        qkv: this.#products("qkv", layer.qkv, normed, { input: stream, rows, rotations, queries, ...cache }),
        attention: {
          generated: attention.generated.bind({ ...seen, partialSums, partialSoftmax }),
          prompt: attention.prompt.bind(seen),
        },
        output: this.#products(
          "add",
          layer.output,
          {},
          {
            input: attended,
            normWeight: layer.postAttentionNorm,
            stream,
          },
        ),
        gated: this.#products(
          "gated",
          layer.gateUp,
          { ...normed, resultStride: paddedSize(spec.intermediateSize) },
          { input: stream, output: gated },
        ),
        down: this.#products("add", layer.down, {}, { input: gated, normWeight: nextNorm, stream }),
      };
    });
  }

  #products<F extends ManyRowForm>(
    form: F,
    matrix: Matrix,
    size: Partial<MatmulSize>,
    buffers: FormBuffers<F>,
  ): Products {
    const parts = this.#parts(form, matrix, size, buffers);
    return {
      generated: this.#kernels.generated(form, matrix.format, parts),
      prompt: this.#kernels.prompt(form, matrix.format, parts),
    };
  }

  #generated<F extends MatmulForm>(
    form: F,
    matrix: Matrix,
    size: Partial<MatmulSize>,
    buffers: FormBuffers<F>,
  ): Product {
    return this.#kernels.generated(form, matrix.format, this.#parts(form, matrix, size, buffers));
  }

  #parts<F extends MatmulForm>(
    form: F,
    { weight, scales, inputSize, columns }: Matrix,
    size: Partial<MatmulSize>,
    buffers: FormBuffers<F>,
  ): ProductParts<F> {
    const shared = { range: this.#table.ranges, weight, scales };
    return {
      size: { ...size, inputSize, outputs: columns / widthOf(form) },
      // The form's own buffers and the shared ones are all but the shape.
      buffers: { ...buffers, ...shared } as unknown as ProductParts<F>["buffers"],
      uniform: (words) => this.#constants.uniform(words),
    };
  }
}
