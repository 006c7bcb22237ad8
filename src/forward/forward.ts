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
import { addNormedShape } from "../kernels/add_normed.ts";
import { attentionShape } from "../kernels/attention_shape.ts";
import type { KernelChoice } from "../kernels/choice.ts";
import { ROW_CAPACITY } from "../kernels/constants.ts";
import { embeddingShape } from "../kernels/embedding.ts";
import type { FewQueryGroups } from "../kernels/few_query_attention.ts";
import { fewRowGroups } from "../kernels/few_row_variant.ts";
import { gateShape } from "../kernels/gate.ts";
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
import { paddedSize } from "../kernels/weight_format.ts";
import type { ModelSpec, RopeSpec } from "../model/spec.ts";
import type { LayerWeights, Matrix, ModelWeights } from "../weights/upload.ts";
import { type Activations, createActivations } from "./activations.ts";
import { Constants } from "./constants.ts";
import { HotHead } from "./hot_head.ts";
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
interface BoundHotHead {
  head: HotHead;
  argmax: Product;
  /** How many candidates a row's `argmax` leaves. */
  candidatesPerRow: number;
  store: Product;
  /** `[ROW_CAPACITY][size]` f32 */
  logits: GPUBuffer;
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
  readonly #choice: KernelChoice;
  readonly #kernels: LayerKernels;
  readonly #constants: Constants;
  readonly #activations: Activations;
  readonly #embedding: ((recorder: Recorder, rows: RowSet) => void)[];
  /** The products of layers, each kind once. */
  readonly #layerKinds = new Map<string, MatmulKind>();
  readonly #layers: BoundLayer[];
  readonly #finalNorm: GPUBindGroup;
  readonly #headArgmax: Product[];
  #headLogits: { store: Product[]; logits: GPUBuffer } | undefined;
  #hotHead: BoundHotHead | undefined;

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
    this.#choice = choice;
    this.#kernels = new LayerKernels(device, spec, choice);
    this.#constants = new Constants(device);
    const partCandidates = weights.head.map((part) => fewRowGroups("headArgmax", part.columns, choice.fewRows));
    this.candidatesPerRow = partCandidates.reduce((sum, count) => sum + count, 0);
    this.#activations = createActivations(
      device,
      spec,
      contextLength,
      this.candidatesPerRow,
      weights.layers.some(({ ungated }) => ungated.length > 0),
    );
    this.candidates = this.#activations.candidates;
    this.#embedding = this.#bindEmbedding();
    this.#layers = this.#bindLayers(kv, contextLength);
    this.#finalNorm = this.#bindFinalNorm();
    let resultOffset = 0;
    this.#headArgmax = weights.head.map((part, i) => {
      const size = { resultStride: this.candidatesPerRow, resultOffset, firstId: part.firstColumn };
      resultOffset += partCandidates[i]!;
      const { normed: input, candidates } = this.#activations;
      return this.#generated({ form: "headArgmax", format: part.format }, part, size, { input, candidates });
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

  /** Numbers of rows that are computed at a time, ascending; what a pass has fewer of is computed all the same. */
  get rowBuckets(): number[] {
    return this.#kernels.rowBuckets.sort((a, b) => a - b);
  }

  /** Compiles what prompts and passes of these numbers of generated rows need, with `argmax` after them. */
  async prepare(rowCounts: readonly number[]): Promise<void> {
    await this.#kernels.prepare(rowCounts, [...this.#layerKinds.values(), ...this.#headKinds("headArgmax")]);
  }

  /**
   * Compiles what passes of these numbers of rows of a regime need, with `logits` after them, and allocates the logits.
   * @returns the buffer of logits, `[ROW_CAPACITY][vocabSize]` f32
   */
  async prepareLogits(rowCounts: readonly number[], regime: Regime): Promise<GPUBuffer> {
    if (!this.#headLogits) {
      const bytes = ROW_CAPACITY * this.spec.vocabSize * 4;
      this.#headLogits = await this.#device.allocating("logits", bytes, () => this.#bindLogits());
    }
    const layers = regime === "generated" ? [...this.#layerKinds.values()] : [];
    await this.#kernels.prepare(rowCounts, [...layers, ...this.#headKinds("store")]);
    return this.#headLogits.logits;
  }

  /**
   * Makes a head over `size` ids, whose columns `HotHead.fill` chooses, and compiles what a row needs for it. There is one at
   * a time; another size takes its place.
   */
  async prepareHotHead(size: number): Promise<BoundHotHead> {
    const { hiddenSize } = this.spec;
    if (this.#hotHead?.head.matrix.columns !== size) {
      this.#hotHead = undefined; // also where there is no memory for the new one
      this.#device.ledger.releaseOwner("hot head");
      const bytes = size * hiddenSize * 4; // of f32; less of others
      this.#hotHead = await this.#device.allocating("hot head", bytes, () => this.#bindHotHead(size));
    }
    const { head } = this.#hotHead;
    const { format } = head.matrix;
    await this.#kernels.prepare(
      [1],
      [
        { form: "headArgmax", format },
        { form: "store", format },
      ],
    );
    await head.prepare();
    return this.#hotHead;
  }

  /** As `argmax`, over the hot ids: candidates carry their places in the table. */
  hotArgmax(recorder: Recorder, row: RowSet): void {
    this.#kernels.finalNorm.dispatch(recorder, this.#finalNorm, row);
    this.#hot.argmax(recorder, row);
  }

  /** As `logits`, of the hot ids. */
  hotLogits(recorder: Recorder, row: RowSet): void {
    this.#kernels.finalNorm.dispatch(recorder, this.#finalNorm, row);
    this.#hot.store(recorder, row);
  }

  get #hot(): BoundHotHead {
    if (!this.#hotHead) throw new GpuError("head", "a hot head was recorded before it was prepared");
    return this.#hotHead;
  }

  #bindHotHead(size: number): BoundHotHead {
    const { logitScale: factor, logitSoftCap: softCap } = this.spec;
    const head = new HotHead(this.#device, this.#weights.head, size);
    const { format } = head.matrix;
    const { normed: input, candidates } = this.#activations;
    const candidatesPerRow = fewRowGroups("headArgmax", size, this.#choice.fewRows);
    const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC;
    const logits = this.#device.ledger.allocate("hot head", "logits", ROW_CAPACITY * size * 4, usage);
    // No more candidates than the whole head leaves: they fit where those go.
    const argmax = this.#generated(
      { form: "headArgmax", format },
      head.matrix,
      { resultStride: candidatesPerRow, resultOffset: 0, firstId: 0 },
      { input, candidates },
    );
    const store = this.#generated(
      { form: "store", format },
      head.matrix,
      { resultStride: size, resultOffset: 0, factor, softCap },
      { input, output: logits },
    );
    return { head, argmax, candidatesPerRow, store, logits };
  }

  #headKinds<F extends "headArgmax" | "store">(form: F): MatmulKind<F>[] {
    return this.#weights.head.map(({ format }) => ({ form, format }));
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

  #bindLogits(): { store: Product[]; logits: GPUBuffer } {
    const { vocabSize, logitScale: factor, logitSoftCap: softCap } = this.spec;
    const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC;
    const logits = this.#device.ledger.allocate("activations", "logits", ROW_CAPACITY * vocabSize * 4, usage);
    const store = this.#weights.head.map((part) => {
      const size = { resultStride: vocabSize, resultOffset: part.firstColumn, factor, softCap };
      return this.#generated({ form: "store", format: part.format }, part, size, {
        input: this.#activations.normed,
        output: logits,
      });
    });
    return { store, logits };
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

  #generated<F extends MatmulForm>(
    kind: MatmulKind<F>,
    matrix: Matrix,
    size: Partial<MatmulSize>,
    buffers: FormBuffers<F>,
  ): Product {
    return this.#kernels.generated(kind, this.#parts(kind.form, matrix, size, buffers));
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
