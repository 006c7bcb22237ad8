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

import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { addNormedShape } from "../kernels/add_normed.ts";
import { attentionShape } from "../kernels/attention_shape.ts";
import type { KernelChoice } from "../kernels/choice.ts";
import { embeddingShape } from "../kernels/embedding.ts";
import type { FewQueryGroups } from "../kernels/few_query_attention.ts";
import { gateShape } from "../kernels/gate.ts";
import { headFormsAgree } from "../kernels/head_forms_check.ts";
import type { RowSet } from "../kernels/kernel.ts";
import type { ManyRowForm } from "../kernels/many_row_matmul.ts";
import {
  kindName,
  type MatmulBinding,
  type MatmulForm,
  type MatmulKind,
  type MatmulSize,
  streamStride,
  widthOf,
} from "../kernels/matmul_form.ts";
import { placeHeadsShape } from "../kernels/place_heads.ts";
import { rmsNormShape } from "../kernels/rms_norm.ts";
import { ropeRotations } from "../kernels/rope.ts";
import { formatName, paddedSize } from "../kernels/weight_format.ts";
import type { ModelSpec, RopeSpec } from "../model/spec.ts";
import type { LayerWeights, Matrix, ModelWeights } from "../weights/upload.ts";
import { type Activations, createActivations } from "./activations.ts";
import { Constants } from "./constants.ts";
import { candidateCounts, Head, type HeadKit } from "./head.ts";
import { HotColumns } from "./hot_columns.ts";
import type { KvCache } from "./kv_cache.ts";
import { LayerKernels, type Product, type ProductParts, type Regime } from "./layer_kernels.ts";
import { type LayerProduct, productKind } from "./product_kinds.ts";
import type { PassRows, RowTable } from "./row_table.ts";

/** A product for rows of both regimes. */
type Products = Record<Regime, Product>;

/** One layer's kernels with their buffers, in the order they are dispatched. */
interface BoundLayer {
  /** From the stream to queries, keys and values. */
  project: Products[];
  attention: { generated: FewQueryGroups; prompt: GPUBindGroup };
  /** From what was attended to the stream, and through the feed-forward block. */
  rest: Products[];
}

/** The head over hot ids, as drafts use it. */
export interface HotHead {
  /** Its columns, to be filled with those of a text's hot ids. */
  columns: HotColumns;
  head: Head;
}

/** The buffers of a form that are not those of every matmul. */
type FormBuffers<F extends MatmulForm> = Omit<
  Record<MatmulBinding<F>, GPUBuffer>,
  "range" | "shape" | "weight" | "scales"
>;

/** Whom the buffers of hot ids are booked under. */
export const HOT_HEAD = "hot head";

export class Forward {
  readonly spec: ModelSpec;
  readonly kv: KvCache;
  readonly contextLength: number;
  /** The head over the whole vocabulary. */
  readonly head: Head;
  readonly #device: Device;
  readonly #weights: ModelWeights;
  readonly #table: RowTable;
  readonly #choice: KernelChoice;
  readonly #kernels: LayerKernels;
  readonly #constants: Constants;
  readonly #activations: Activations;
  readonly #embedding: ((recorder: Recorder, rows: RowSet) => void)[];
  /** The products of layers, each kind once. */
  readonly #layerKinds = new Map<string, MatmulKind>();
  readonly #layers: BoundLayer[];
  readonly #headKit: HeadKit;
  #hotHead: HotHead | undefined;
  #headFormsAgree: Promise<boolean> | undefined;

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
    this.kv = kv;
    this.contextLength = contextLength;
    this.#device = device;
    this.#weights = weights;
    this.#table = table;
    this.#choice = choice;
    this.#kernels = new LayerKernels(device, spec, choice);
    this.#constants = new Constants(device);
    this.#activations = createActivations(
      device,
      spec,
      contextLength,
      candidateCounts(weights.head, choice.fewRows).reduce((sum, count) => sum + count, 0),
      weights.layers.some(({ ungated }) => ungated.length > 0),
    );
    this.#embedding = this.#bindEmbedding();
    this.#layers = this.#bindLayers(kv, contextLength);
    const { normed, candidates } = this.#activations;
    this.#headKit = {
      ...{ device, spec, kernels: this.#kernels, constants: this.#constants, fewRows: choice.fewRows },
      ...{ ranges: table.ranges, finalNorm: this.#bindFinalNorm(), normed, candidates },
    };
    this.head = new Head(this.#headKit, weights.head, "activations");
  }

  /** What this device cannot do to the bit, and what that costs. */
  get warnings(): string[] {
    return this.#kernels.warnings;
  }

  /** Whether a verification reads the weights once for all its rows; if not, drafting cannot pay. */
  get takesRowsTogether(): boolean {
    return this.#kernels.takesRowsTogether;
  }

  /** Numbers of rows that are computed at a time, ascending; what a pass has fewer of is computed all the same. */
  get rowBuckets(): number[] {
    return this.#kernels.rowBuckets.sort((a, b) => a - b);
  }

  /** Compiles what prompts and passes of these numbers of generated rows need, with the head's `argmax` after them. */
  async prepare(rowCounts: readonly number[]): Promise<void> {
    await this.#kernels.prepare(rowCounts, [...this.#layerKinds.values(), ...this.head.kinds("headArgmax")]);
  }

  /**
   * Compiles what passes of these numbers of rows of a regime need, with the head's `logits` after them, and allocates the logits.
   * @returns the buffer of logits, `[ROW_CAPACITY][vocabSize]` f32
   */
  async prepareLogits(rowCounts: readonly number[], regime: Regime): Promise<GPUBuffer> {
    const logits = await this.head.allocateLogits();
    const layers = regime === "generated" ? [...this.#layerKinds.values()] : [];
    await this.#kernels.prepare(rowCounts, [...layers, ...this.head.kinds("store")]);
    return logits;
  }

  /** Whether the largest of the head's logits is its argmax, to the bit, on this device. */
  async headFormsAgree(): Promise<boolean> {
    const { logitScale, logitSoftCap } = this.spec;
    // Rounded once more, two products may become equal.
    if ((logitScale ?? 1) !== 1 || logitSoftCap) return false;
    this.#headFormsAgree ??= this.#compareHeadForms();
    try {
      return await this.#headFormsAgree;
    } catch (error) {
      this.#headFormsAgree = undefined; // undecided: asked again next time
      throw error;
    }
  }

  async #compareHeadForms(): Promise<boolean> {
    const formats = new Map(this.head.kinds("store").map(({ format }) => [formatName(format), format]));
    const agree = [...formats.values()].map((format) => headFormsAgree(this.#device, format, this.#choice.fewRows));
    return (await Promise.all(agree)).every(Boolean);
  }

  /**
   * Makes a head over `size` ids, whose columns are filled for each text, and compiles what a row needs for it. There is one at
   * a time; another size takes its place.
   */
  async prepareHotHead(size: number): Promise<HotHead> {
    if (this.#hotHead?.head.size !== size) {
      this.#hotHead = undefined; // also where there is no memory for the new one
      this.#device.ledger.releaseOwner(HOT_HEAD);
      const bytes = size * this.spec.hiddenSize * 4; // of f32; less of others
      this.#hotHead = await this.#device.allocating(HOT_HEAD, bytes, () => {
        const columns = new HotColumns(this.#device, HOT_HEAD, this.#weights.head, size);
        return { columns, head: new Head(this.#headKit, [columns.matrix], HOT_HEAD) };
      });
    }
    const { columns, head } = this.#hotHead;
    await columns.prepare();
    await this.#kernels.prepare([1], [...head.kinds("headArgmax"), ...head.kinds("store")]);
    return this.#hotHead;
  }

  /** Records `rows` through layers [fromLayer, toLayer), from their tokens where fromLayer is 0. */
  forward(recorder: Recorder, rows: PassRows, fromLayer: number, toLayer: number): void {
    const { regime } = rows;
    const { attention } = this.#kernels;
    if (fromLayer === 0) for (const embed of this.#embedding) embed(recorder, rows);
    for (const layer of this.#layers.slice(fromLayer, toLayer)) {
      for (const step of layer.project) step[regime](recorder, rows);
      if (regime === "generated") attention.generated.dispatch(recorder, layer.attention.generated, rows);
      else attention.prompt.dispatch(recorder, layer.attention.prompt, rows);
      for (const step of layer.rest) step[regime](recorder, rows);
    }
  }

  /**
   * Records that row `from` of the stream becomes row 0, in the table too: heads and selection work on the first
   * `ROW_CAPACITY` rows.
   */
  liftLast(recorder: Recorder, from: number): void {
    const { stream, lifted } = this.#activations;
    const bytes = streamStride(this.spec.hiddenSize) * 4;
    recorder.copy(stream, from * bytes, lifted, 0, bytes);
    recorder.copy(lifted, 0, stream, 0, bytes);
    this.#table.liftLast(recorder);
  }

  #bindEmbedding(): ((recorder: Recorder, rows: RowSet) => void)[] {
    const { hiddenSize, vocabSize, embeddingScale: scale } = this.spec;
    const { rows, ranges } = this.#table;
    const normWeight = this.#firstNorm(0);
    return this.#weights.embedding.map(({ format, weight, scales, columns, firstColumn: firstId }) => {
      const kernel = this.#kernels.embedding(format);
      const shape = this.#constants.uniform(embeddingShape({ hiddenSize, columns, firstId, vocabSize, scale }));
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

  #bindLayers(kv: KvCache, contextLength: number): BoundLayer[] {
    const { spec } = this;
    const rotations = this.#rotations(contextLength);
    return this.#weights.layers.map((layer, i) => {
      const { window, rope } = spec.attention[i]!;
      const cache = { keys: kv.keys[i]!, values: kv.values[i]! };
      return {
        project: this.#bindProjection(layer, rotations.get(rope)!, cache),
        attention: this.#bindAttention(contextLength, window, cache),
        rest: [
          ...this.#bindBlockEnd("output", layer.output, this.#activations.attended, {
            postNorm: layer.postAttentionNorm,
            nextNorm: layer.preFeedforwardNorm ?? this.#weights.finalNorm,
          }),
          ...this.#bindGated(layer),
          ...this.#bindBlockEnd("down", layer.down, this.#activations.gated, {
            postNorm: layer.postFeedforwardNorm,
            nextNorm: this.#firstNorm(i + 1),
          }),
        ],
      };
    });
  }

  /**
   * The norm that layer `i` begins with. What a block ends with multiplies the stream by the weight of the norm that comes
   * next; where none does, the product is not read, and any weight will do.
   */
  #firstNorm(i: number): GPUBuffer {
    return this.#weights.layers[i]?.inputNorm ?? this.#weights.finalNorm;
  }

  /** A table of rotations for each way in which layers rotate. */
  #rotations(contextLength: number): Map<RopeSpec | undefined, GPUBuffer> {
    const ropes = new Set(this.spec.attention.map(({ rope }) => rope));
    return new Map(
      [...ropes].map((rope, i) => {
        const table = ropeRotations(contextLength, this.spec.headDim, rope);
        return [rope, this.#constants.storage(`rotations ${i}`, table)];
      }),
    );
  }

  #bindProjection(
    layer: LayerWeights,
    rotations: GPUBuffer,
    cache: { keys: GPUBuffer; values: GPUBuffer },
  ): Products[] {
    const { spec } = this;
    const { headNorm, heads, kvHeads, headDim, rmsNormEps: epsilon } = spec;
    const { stream, queries, projected } = this.#activations;
    const { rows, ranges: range } = this.#table;
    const normed = { epsilon, headShape: spec, inputStride: streamStride(spec.hiddenSize) };
    if (!headNorm) {
      return layer.qkv.map((part) =>
        this.#products(
          "qkv",
          part,
          { ...normed, resultOffset: part.firstColumn / 2 },
          {
            input: stream,
            ...{ rows, rotations, queries, ...cache },
          },
        ),
      );
    }
    const resultStride = (heads + 2 * kvHeads) * headDim;
    const products = layer.qkv.map((part) =>
      this.#products(
        "qkv",
        part,
        { ...normed, resultStride, resultOffset: part.firstColumn },
        {
          input: stream,
          output: projected,
        },
      ),
    );
    const place = this.#kernels.placeHeads!;
    const group = place.bind({
      ...{ range, rows, projected, rotations, queries, ...cache },
      shape: this.#constants.uniform(placeHeadsShape(spec, headNorm, epsilon)),
      queryNorm: layer.queryNorm!,
      keyNorm: layer.keyNorm!,
    });
    return [...products, inBothRegimes((recorder, set) => place.dispatch(recorder, group, set, spec))];
  }

  #bindAttention(
    contextLength: number,
    window: number | undefined,
    cache: { keys: GPUBuffer; values: GPUBuffer },
  ): BoundLayer["attention"] {
    const { spec } = this;
    const { queries, attended, partialSums, partialSoftmax } = this.#activations;
    const rule = { scale: spec.attentionScale, softCap: spec.attentionSoftCap, window };
    const words = attentionShape(spec, contextLength, rule, paddedSize(spec.heads * spec.headDim));
    const { rows, ranges: range } = this.#table;
    const seen = { range, rows, queries, attended, ...cache, shape: this.#constants.uniform(words) };
    const { attention } = this.#kernels;
    return {
      generated: attention.generated.bind({ ...seen, partialSums, partialSoftmax }),
      prompt: attention.prompt.bind(seen),
    };
  }

  /** Gate and up: one product in as many parts as there are, or two that are stored and then gated. */
  #bindGated({ gateUp, ungated }: LayerWeights): Products[] {
    const { hiddenSize, intermediateSize, rmsNormEps: epsilon } = this.spec;
    const { stream, gated, ungated: products } = this.#activations;
    const input = { epsilon, inputStride: streamStride(hiddenSize) };
    const fused = { ...input, resultStride: paddedSize(intermediateSize) };
    const pairs = gateUp.map((part) =>
      this.#products("gateUp", part, { ...fused, resultOffset: part.firstColumn }, { input: stream, output: gated }),
    );
    if (ungated.length === 0) return pairs;
    const stored = { ...input, resultStride: 2 * intermediateSize };
    const singles = ungated.map((part) =>
      this.#products(
        "ungated",
        part,
        { ...stored, resultOffset: part.firstColumn },
        { input: stream, output: products },
      ),
    );
    const gate = this.#kernels.gate;
    const shape = this.#constants.uniform(gateShape(intermediateSize));
    const group = gate.bind({ range: this.#table.ranges, shape, products, output: gated });
    return [...singles, inBothRegimes((recorder, rows) => gate.dispatch(recorder, group, rows, intermediateSize))];
  }

  /** The product that ends a block: it adds to the stream, or is stored to be normed and added. */
  #bindBlockEnd(
    product: "output" | "down",
    matrix: Matrix,
    input: GPUBuffer,
    { postNorm: weight, nextNorm }: { postNorm: GPUBuffer | undefined; nextNorm: GPUBuffer },
  ): Products[] {
    const { hiddenSize, rmsNormEps, residualScale: factor } = this.spec;
    const { stream, unadded } = this.#activations;
    if (!weight) {
      return [this.#products(product, matrix, { factor }, { input, normWeight: nextNorm, stream })];
    }
    const stored = this.#products(
      product,
      matrix,
      { resultStride: paddedSize(hiddenSize) },
      { input, output: unadded },
    );
    const add = this.#kernels.addNormed!;
    const group = add.bind({
      range: this.#table.ranges,
      shape: this.#constants.uniform(addNormedShape(hiddenSize, rmsNormEps)),
      ...{ product: unadded, weight, nextWeight: nextNorm, stream },
    });
    return [stored, inBothRegimes((recorder, rows) => add.dispatch(recorder, group, rows))];
  }

  /** A product of a layer; its kind says which of the buffers it takes. */
  #products(
    product: LayerProduct,
    matrix: Matrix,
    size: Partial<MatmulSize>,
    buffers: Partial<FormBuffers<ManyRowForm>>,
  ): Products {
    const kind = productKind(this.spec, product, matrix, this.#choice.kv);
    this.#layerKinds.set(kindName(kind), kind);
    const parts = this.#parts(kind.form, matrix, size, buffers as FormBuffers<ManyRowForm>);
    return { generated: this.#kernels.generated(kind, parts), prompt: this.#kernels.prompt(kind, parts) };
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

/** A kernel that is the same for rows of both regimes. */
function inBothRegimes(product: Product): Products {
  return { generated: product, prompt: product };
}
