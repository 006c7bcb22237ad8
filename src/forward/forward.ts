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
import type { KernelChoice } from "../kernels/choice.ts";
import { embeddingShape } from "../kernels/embedding.ts";
import { headFormsAgree } from "../kernels/head_forms_check.ts";
import type { RowSet } from "../kernels/kernel.ts";
import { type MatmulKind, streamStride } from "../kernels/matmul_form.ts";
import { rmsNormShape } from "../kernels/rms_norm.ts";
import { formatName, paddedSize } from "../kernels/weight_format.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { ExitAdapterWeights } from "../weights/exit_adapter_upload.ts";
import { type ModelWeights, matrixBytes } from "../weights/held_weights.ts";
import { type Activations, createActivations } from "./activations.ts";
import { Constants } from "./constants.ts";
import { ExitAdapter } from "./exit_adapter.ts";
import { candidateCounts, Head, type HeadKit } from "./head.ts";
import { HotColumns } from "./hot_columns.ts";
import type { KvCache } from "./kv_cache.ts";
import { type BoundLayer, LayerBinder, type LayerKit, rotationTables } from "./layer_binder.ts";
import { LayerKernels, type Regime } from "./layer_kernels.ts";
import type { PassRows, RowTable } from "./row_table.ts";

/** The head over hot ids, as drafts use it. */
export interface HotHead {
  /** Its columns, to be filled with those of a text's hot ids. */
  columns: HotColumns;
  head: Head;
  /** The same over what the exit adapter has made, where there is one that has no ids of its own. */
  exitHead: Head | undefined;
}

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
  readonly #layerKit: LayerKit;
  readonly #binder: LayerBinder;
  readonly #layers: BoundLayer[];
  readonly #headKit: HeadKit;
  #hotHead: HotHead | undefined;
  #exitAdapter: ExitAdapter | undefined;
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
    this.#layerKit = {
      ...{
        spec,
        table,
        contextLength,
        kernels: this.#kernels,
        constants: this.#constants,
        activations: this.#activations,
      },
      kvType: choice.kv,
      rotations: rotationTables(spec, contextLength, this.#constants),
    };
    this.#binder = new LayerBinder(this.#layerKit);
    const { stream, normed, candidates } = this.#activations;
    this.#layers = weights.layers.map((layer, i) =>
      this.#binder.bind(layer, {
        attention: spec.attention[i]!,
        cache: { keys: kv.keys[i]!, values: kv.values[i]! },
        stream,
        nextNorm: this.#firstNorm(i + 1),
      }),
    );
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
    return this.#kernels.takesRowsTogether(this.#kinds);
  }

  /** Numbers of rows that are computed at a time, ascending; what a pass has fewer of is computed all the same. */
  get rowBuckets(): number[] {
    return this.#kernels.rowBuckets(this.#kinds).sort((a, b) => a - b);
  }

  /** Compiles what prompts and passes of these numbers of generated rows need, with the head's `argmax` after them. */
  async prepare(rowCounts: readonly number[]): Promise<void> {
    await Promise.all([
      this.#kernels.prepare(rowCounts, this.#kinds, this.#binder.kinds),
      this.#exitAdapter?.prepare(rowCounts),
    ]);
  }

  /** The products of a step, each kind once. */
  get #kinds(): MatmulKind[] {
    return [...this.#binder.kinds, ...this.head.kinds("headArgmax")];
  }

  /** Compiles what prompts need, with the head's `argmax` after passes of these numbers of rows. */
  async preparePrompts(rowCounts: readonly number[]): Promise<void> {
    await Promise.all([
      this.#kernels.prepare(rowCounts, this.head.kinds("headArgmax"), this.#binder.kinds),
      this.#exitAdapter?.prepare([1]),
    ]);
  }

  /**
   * Compiles what passes of these numbers of rows of a regime need, with the head's `logits` after them, and allocates the logits.
   * @returns the buffer of logits, `[ROW_CAPACITY][vocabSize]` f32
   */
  async prepareLogits(rowCounts: readonly number[], regime: Regime): Promise<GPUBuffer> {
    const logits = await this.head.allocateLogits();
    const layers = regime === "generated" ? this.#binder.kinds : [];
    await Promise.all([
      this.#kernels.prepare(rowCounts, [...layers, ...this.head.kinds("store")], this.#binder.kinds),
      this.#exitAdapter?.prepare(regime === "generated" ? rowCounts : [1]),
    ]);
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
        const parts = [columns.matrix];
        const adapter = this.#exitAdapter?.columns ? undefined : this.#exitAdapter;
        const exitHead = adapter?.headOver(parts, HOT_HEAD);
        return { columns, head: new Head(this.#headKit, parts, HOT_HEAD), exitHead };
      });
    }
    const { columns, head } = this.#hotHead;
    await columns.prepare();
    await this.#kernels.prepare([1], [...head.kinds("headArgmax"), ...head.kinds("store")], []);
    return this.#hotHead;
  }

  /** Records `rows` through layers [fromLayer, toLayer), from their tokens where fromLayer is 0. */
  forward(recorder: Recorder, rows: PassRows, fromLayer: number, toLayer: number): void {
    if (fromLayer === 0) for (const embed of this.#embedding) embed(recorder, rows);
    for (let i = fromLayer; i < toLayer; i++) {
      const layer = this.#layers[i]!;
      this.#binder.project(recorder, layer, rows);
      this.#binder.finish(recorder, layer, rows);
      if (i + 1 === this.#exitAdapter?.exitLayer) this.#exitAdapter.pass(recorder, rows);
    }
  }

  /** Keys and values of each layer, and of what is put behind one. */
  get caches(): { keys: GPUBuffer; values: GPUBuffer }[] {
    const { keys, values } = this.kv;
    const own = this.#exitAdapter?.cache;
    return [...keys.map((layer, i) => ({ keys: layer, values: values[i]! })), ...(own ? [own] : [])];
  }

  /** `[PROMPT_CAPACITY][2][padded hiddenSize]`: the residual stream, and the same times the next norm's weight. */
  get stream(): GPUBuffer {
    return this.#activations.stream;
  }

  /** The weights of the final norm, in f32. */
  get finalNorm(): GPUBuffer {
    return this.#weights.finalNorm;
  }

  /** What makes an early exit guess better, where there is such. */
  get exitAdapter(): ExitAdapter | undefined {
    return this.#exitAdapter;
  }

  /** Puts an adapter, which has been prepared, behind its layer, and frees the one before. Not while anything runs. */
  putExitAdapter(adapter: ExitAdapter): void {
    this.removeExitAdapter();
    this.#exitAdapter = adapter;
  }

  /** Bytes of a layer's matrices. */
  layerBytes(layer: number): number {
    return matrixBytes(this.#weights.layers[layer]!);
  }

  /** An adapter that is not yet put behind its layer. @param owner whom all of it is booked under, its weights too */
  makeExitAdapter(weights: ExitAdapterWeights, owner: string): ExitAdapter {
    const { head: headParts, finalNorm } = this.#weights;
    const shared = { device: this.#device, layers: this.#layerKit, head: this.#headKit, headParts, finalNorm };
    return new ExitAdapter(shared, this.kv, weights, owner);
  }

  /** Frees the adapter, if there is one. */
  removeExitAdapter(): void {
    this.#exitAdapter?.dispose();
    this.#exitAdapter = undefined;
    this.#hotHead = undefined; // made with it
    this.#device.ledger.releaseOwner(HOT_HEAD);
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

  /**
   * The norm that layer `i` begins with. What a block ends with multiplies the stream by the weight of the norm that comes
   * next; where none does, the product is not read, and any weight will do.
   */
  #firstNorm(i: number): GPUBuffer {
    return this.#weights.layers[i]?.inputNorm ?? this.#weights.finalNorm;
  }
}
