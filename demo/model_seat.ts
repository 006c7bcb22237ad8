/** The one model that the page holds. Another takes its place once it is there, where the device has memory for both. */

import { GpuMemoryError, type LoadOptions, load, type Model, type ModelCheck } from "../src/index.ts";
import { neededBytes } from "./check_words.ts";
import type { DtypeChoice } from "./dtypes.ts";
import type { WantedModel } from "./wanted_model.ts";

export interface LoadRequest {
  wanted: WantedModel;
  dtype: DtypeChoice;
  /** What is known of it; without, there is taken to be room. */
  check?: ModelCheck;
}

export class ModelSeat {
  #taken: { model: Model; request: LoadRequest } | undefined;

  get model(): Model | undefined {
    return this.#taken?.model;
  }

  /** What the model was loaded by. */
  get request(): LoadRequest | undefined {
    return this.#taken?.request;
  }

  /** Whether the model that is there can stay until the other is loaded. */
  hasRoomFor({ dtype, check }: Omit<LoadRequest, "wanted">): boolean {
    const needed = check && neededBytes(check, dtype);
    const available = check?.memory?.availableBytes;
    if (!this.#taken || needed === undefined || available === undefined) return true;
    return this.#taken.model.memory().bytes + needed <= available;
  }

  /** Throws what `load` throws; the model that was there is then there still, unless there was no room for both. */
  async replace(request: LoadRequest, options: LoadOptions): Promise<void> {
    if (!this.hasRoomFor(request)) await this.clear();
    const model = await load(request.wanted.source, { ...options, dtype: request.dtype });
    await this.clear();
    this.#taken = { model, request };
  }

  async clear(): Promise<void> {
    const model = this.#taken?.model;
    this.#taken = undefined;
    await model?.dispose();
  }

  /** Makes what room there is after a load failed for want of it. */
  async makeRoomAfter(error: unknown): Promise<void> {
    if (error instanceof GpuMemoryError) await this.clear();
  }
}
