/**
 * An exit adapter: a small part, trained or fitted, by which an early exit of a model that was not trained for it guesses what
 * the whole model would say.
 *
 *   block:  hidden state after layer E -> a decoder layer with keys and values of its own -> W x + b -> final norm -> head
 *           (the early-exit block of EESD, Liu et al. 2024, section 3.1)
 *   linear: hidden state after layer E -> divided by its root mean square -> W x + b -> final norm -> head
 *           (a tuned lens, Belrose et al. 2023, section 3)
 *
 * It works on a stream of its own: the model's stays what the verification goes on from. A block's keys and values depend on
 * nothing but the hidden state after layer E, so every row leaves them when it passes that layer, whoever drafted it: the cache
 * of the block has all that the model's has.
 */

import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { PROMPT_CAPACITY, ROW_CAPACITY } from "../kernels/constants.ts";
import { Fork, forkShape } from "../kernels/fork.ts";
import type { RowSet } from "../kernels/kernel.ts";
import { type MatmulKind, streamStride } from "../kernels/matmul_form.ts";
import { rmsNormShape } from "../kernels/rms_norm.ts";
import { paddedSize } from "../kernels/weight_format.ts";
import type { ExitAdapterWeights } from "../weights/exit_adapter_upload.ts";
import { matrixBytes } from "../weights/held_weights.ts";
import { Constants } from "./constants.ts";
import { Head, type HeadKit } from "./head.ts";
import { HotColumns } from "./hot_columns.ts";
import type { KvCache } from "./kv_cache.ts";
import { type BoundLayer, LayerBinder, type LayerKit, type Products } from "./layer_binder.ts";
import { productKind } from "./product_kinds.ts";
import type { PassRows } from "./row_table.ts";

/** What is booked under begins so: each adapter has an owner of its own, since the next is made before the last is freed. */
export const EXIT_ADAPTER = "exit adapter";

/** What it shares with the model. */
export interface ExitAdapterKit {
  device: Device;
  layers: Omit<LayerKit, "constants">;
  head: HeadKit;
  /** The model's head, whose columns it takes. */
  headParts: ConstructorParameters<typeof HotColumns>[2];
  finalNorm: GPUBuffer;
}

/** Bytes that an adapter takes beside its weights. */
export function adapterBytes(
  { hiddenSize }: { hiddenSize: number },
  { layerBytes }: KvCache,
  hasBlock: boolean,
): number {
  const rows = PROMPT_CAPACITY * streamStride(hiddenSize) + ROW_CAPACITY * paddedSize(hiddenSize);
  return rows * 4 + (hasBlock ? 2 * layerBytes : 0);
}

export class ExitAdapter {
  /** Layers before it. */
  readonly exitLayer: number;
  /** Its keys and values; undefined where it has none. */
  readonly cache: { keys: GPUBuffer; values: GPUBuffer } | undefined;
  /** What chooses a draft of what it has made; that over its own ids has their columns of the model's head. */
  readonly head: Head;
  readonly columns: HotColumns | undefined;
  /** The final norm, from what it has made. */
  readonly norm: GPUBindGroup;
  readonly #device: Device;
  /** Whom all of it is booked under. */
  readonly owner: string;
  readonly #kit: ExitAdapterKit;
  readonly #weights: ExitAdapterWeights;
  readonly #binder: LayerBinder;
  readonly #fork: Fork;
  readonly #forked: GPUBindGroup;
  readonly #block: BoundLayer | undefined;
  readonly #map: Products;
  /** Its columns of the head are there. */
  #filled = false;

  /** @param owner whom what it allocates is booked under, beside its weights */
  constructor(kit: ExitAdapterKit, kv: KvCache, weights: ExitAdapterWeights, owner: string) {
    const { device, layers, finalNorm } = kit;
    const { spec, table, kernels, activations } = layers;
    const { exitLayer, block, map, firstNorm, hotIds } = weights;
    const { hiddenSize, rmsNormEps: epsilon } = spec;
    const constants = new Constants(device, owner);
    const allocate = (name: string, bytes: number) => {
      const { STORAGE, COPY_SRC, COPY_DST } = BufferUsage;
      return device.ledger.allocate(owner, name, bytes, STORAGE | COPY_SRC | COPY_DST);
    };
    const stride = streamStride(hiddenSize);
    const stream = allocate("stream", PROMPT_CAPACITY * stride * 4);
    const mapped = allocate("mapped", ROW_CAPACITY * paddedSize(hiddenSize) * 4);
    this.#device = device;
    this.owner = owner;
    this.#kit = kit;
    this.#weights = weights;
    this.exitLayer = exitLayer;
    this.cache = block && { keys: allocate("keys", kv.layerBytes), values: allocate("values", kv.layerBytes) };
    this.#binder = new LayerBinder({ ...layers, constants });
    this.#fork = new Fork(device);
    this.#forked = this.#fork.bind({
      range: table.ranges,
      shape: constants.uniform(forkShape(hiddenSize)),
      stream: activations.stream,
      normWeight: firstNorm ?? finalNorm,
      forked: stream,
    });
    this.#block =
      block &&
      this.#binder.bind(block, {
        attention: spec.attention[exitLayer]!, // as the layer of the model that would come next
        cache: this.cache!,
        stream,
        nextNorm: finalNorm,
      });
    // Behind a block the map takes the stream as it is, else normed.
    this.#map = this.#binder.product(
      { form: "store", normed: !block, format: map.format, bias: map.bias },
      map,
      { epsilon, inputStride: stride, resultStride: paddedSize(hiddenSize) },
      { input: stream, output: mapped },
    );
    const normShape = rmsNormShape(hiddenSize, epsilon, paddedSize(hiddenSize), paddedSize(hiddenSize));
    this.norm = kernels.finalNorm.bind({
      range: table.ranges,
      shape: constants.uniform(normShape),
      hidden: mapped,
      weight: finalNorm,
      normed: activations.normed,
    });
    this.columns = hotIds && new HotColumns(device, owner, kit.headParts, hotIds.length);
    this.head = this.headOver(this.columns ? [this.columns.matrix] : kit.headParts, owner, constants);
  }

  /** A head over other columns that reads what the adapter has made. @param owner whom its buffers are booked under */
  headOver(parts: ConstructorParameters<typeof Head>[1], owner: string, constants = this.#kit.head.constants): Head {
    return new Head({ ...this.#kit.head, constants, finalNorm: this.norm }, parts, owner);
  }

  /** The ids that it chooses among, ascending; undefined: all. */
  get hotIds(): Uint32Array<ArrayBuffer> | undefined {
    return this.#weights.hotIds;
  }

  /** Bytes of its own matrices, the head's left out. */
  get bytes(): number {
    const { block, map } = this.#weights;
    return map.weight.size + map.scales.size + (block ? matrixBytes(block) : 0);
  }

  /**
   * Compiles what it needs: a row at a time drafts, as many as pass the layer leave keys and values.
   * @param rowCounts numbers of generated rows that a pass may have
   */
  async prepare(rowCounts: readonly number[]): Promise<void> {
    const { spec, kernels, kvType } = this.#kit.layers;
    const passing: MatmulKind[] = (this.#weights.block?.qkv ?? []).map((matrix) =>
      productKind(spec, "qkv", matrix, kvType),
    );
    await Promise.all([
      this.#fork.prepare(),
      this.columns?.prepare(),
      kernels.prepare(
        [1],
        [...this.#binder.kinds, ...this.head.kinds("headArgmax"), ...this.head.kinds("store")],
        this.#binder.kinds,
      ),
      kernels.prepare(rowCounts, passing, []),
    ]);
    if (!this.#filled && this.hotIds) this.columns?.fill(this.hotIds);
    this.#filled = true;
  }

  /** Records what every row leaves that has passed layer `exitLayer`: its keys and values. */
  pass(recorder: Recorder, rows: PassRows): void {
    if (!this.#block) return;
    this.#forkRows(recorder, rows);
    this.#binder.project(recorder, this.#block, rows);
  }

  /**
   * Records the rest of the way to what the head reads, of rows that have just passed layer `exitLayer`.
   * @param rows among the first `ROW_CAPACITY` of the table
   */
  finish(recorder: Recorder, rows: PassRows): void {
    if (this.#block) this.#binder.finish(recorder, this.#block, rows);
    else this.#forkRows(recorder, rows);
    this.#map[rows.regime](recorder, rows);
  }

  #forkRows(recorder: Recorder, rows: RowSet): void {
    this.#fork.dispatch(recorder, this.#forked, rows, this.#kit.layers.spec.hiddenSize);
  }

  /** Frees its weights and all that was made for it. */
  dispose(): void {
    this.#device.ledger.releaseOwner(this.owner);
  }
}
