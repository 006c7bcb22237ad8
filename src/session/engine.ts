/**
 * All that a model has on one device: weights, keys and values, the scheduler and what stands beside it.
 *
 * When the device is lost all of it is, and another is made (engine_seat.ts). What is known of the model, its texts and its prices does not
 * depend on a device, and is the model's.
 */

import { RoundQueue } from "../decode/round_queue.ts";
import { Scheduler } from "../decode/scheduler.ts";
import { Forward } from "../forward/forward.ts";
import { KvCache } from "../forward/kv_cache.ts";
import { KvPages } from "../forward/kv_pages.ts";
import { PageCopy } from "../forward/page_copy.ts";
import { RowTable } from "../forward/row_table.ts";
import type { Device } from "../gpu/device.ts";
import type { KernelChoice } from "../kernels/choice.ts";
import type { LayerTensors, ModelSpec } from "../model/spec.ts";
import type { ModelDtype, Transcript } from "../types.ts";
import type { Holding } from "../weights/dtype.ts";
import type { ModelWeights } from "../weights/held_weights.ts";
import type { PricedAdapter } from "./controllers.ts";
import { ExitAdapterSeat } from "./exit_adapter.ts";
import { KeptTexts, type OpenText } from "./kept_texts.ts";

/** What `load` has put on a device. */
export interface EngineParts {
  device: Device;
  spec: ModelSpec;
  weights: ModelWeights;
  contextLength: number;
  /** Tokens of all texts together. */
  kvBudget: number;
  dtype: ModelDtype;
  /** What the matrices are held in, and the tensors of the layers: an exit adapter is placed by them. */
  holding: Holding;
  layers: readonly LayerTensors[];
  kernels: KernelChoice;
  /** Of the choice of kernels and of the data type. */
  warnings: readonly string[];
}

export class Engine {
  readonly device: Device;
  readonly dtype: ModelDtype;
  readonly holding: Holding;
  readonly kernels: KernelChoice;
  readonly forward: Forward;
  readonly table: RowTable;
  readonly scheduler: Scheduler;
  readonly rounds: RoundQueue;
  readonly texts: KeptTexts;
  readonly adapters: ExitAdapterSeat;
  /** Told of another exit adapter, or none. */
  onAdapter: (adapter: PricedAdapter | undefined) => void = () => {};
  /** Pages that texts share. */
  readonly pages: number;
  readonly #pageCopy: PageCopy;
  readonly #warnings: readonly string[];

  /** Allocates what a model needs beside its weights. @throws InputError for a context that no pass can serve here */
  constructor(parts: EngineParts) {
    const { device, spec, weights, contextLength, kvBudget, dtype, holding, layers, kernels, warnings } = parts;
    this.device = device;
    this.dtype = dtype;
    this.holding = holding;
    this.kernels = kernels;
    this.#warnings = warnings;
    const kv = new KvCache(device, spec, contextLength, kernels.kv, kvBudget);
    this.pages = kv.pages;
    this.table = new RowTable(device, contextLength);
    this.forward = new Forward(device, spec, weights, kv, this.table, contextLength, kernels);
    this.scheduler = new Scheduler(device, this.forward, this.table);
    this.rounds = new RoundQueue(this.scheduler);
    this.#pageCopy = new PageCopy(device, this.forward);
    this.texts = new KeptTexts(new KvPages(kv.pages), {
      use: (lane, pages, from) => this.table.usePages(lane, pages, from),
      copy: (from, to, slots) => this.#pageCopy.copy(from, to, slots),
    });
    this.adapters = new ExitAdapterSeat(
      { device, forward: this.forward, table: this.table, layers, holding },
      (adapter) => {
        this.onAdapter(adapter);
        this.texts.clear(); // its keys and values are not an adapter's
      },
    );
  }

  /** What is not used here: because the device computes it wrong, or not to the bit, or has not the memory. */
  get warnings(): string[] {
    return [...this.#warnings, ...this.forward.warnings];
  }

  /**
   * Opens a text to be worked on in a lane.
   * @param most tokens that may be reused
   * @param positions that it takes at most
   * @throws GpuError | DeviceLostError
   */
  async open(text: Transcript, most: number, positions: number, lane: number): Promise<OpenText> {
    await this.#pageCopy.prepare();
    return this.texts.open(text, most, positions, lane);
  }

  /** Frees the device. Safe to call twice. */
  dispose(): void {
    this.device.dispose();
  }
}
