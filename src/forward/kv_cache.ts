/**
 * The KV cache: keys and values of each layer, in slots. Pages of slots belong to texts (kv_pages.ts).
 *
 * `keys[layer]`, `values[layer]`: `[slots][kvHeads][headDim]` of the cache's type (kernels/kv_format.ts). How many tokens of a
 * text are committed is one integer on the GPU (`State.length`); what lies past it is never read, so rolling back touches
 * nothing here.
 */

import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { PAGE_SLOTS } from "../kernels/constants.ts";
import { KV_BYTES, type KvType } from "../kernels/kv_format.ts";
import type { ModelSpec } from "../model/spec.ts";
import { requireContext, requireKvBudget } from "./context_limit.ts";
import { pagesFor } from "./kv_pages.ts";

export class KvCache {
  readonly type: KvType;
  readonly keys: readonly GPUBuffer[];
  readonly values: readonly GPUBuffer[];
  readonly pages: number;
  /** Bytes of a layer's keys in a slot, and of its values. */
  readonly slotBytes: number;

  /**
   * @param budget tokens that there is room for, all texts together; by default one context
   * @throws InputError for a context that no pass can serve here: what other buffers cannot hold is refused with it
   */
  constructor(device: Device, spec: ModelSpec, contextLength: number, type: KvType, budget = contextLength) {
    requireContext(device.ledger.bindableBytes, spec, contextLength, type);
    requireKvBudget(device.ledger.bindableBytes, spec, budget, type);
    this.type = type;
    this.pages = pagesFor(Math.max(budget, contextLength));
    this.slotBytes = spec.kvHeads * spec.headDim * KV_BYTES[type];
    const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST;
    const perLayer = (what: string) =>
      Array.from({ length: spec.layers }, (_, i) =>
        device.ledger.allocate("kv", `layer ${i} ${what}`, this.layerBytes, usage),
      );
    this.keys = perLayer("keys");
    this.values = perLayer("values");
  }

  /** Bytes of a layer's keys, and of its values. */
  get layerBytes(): number {
    return this.pages * PAGE_SLOTS * this.slotBytes;
  }

  /** Bytes the cache of so many tokens takes. */
  static bytes(spec: ModelSpec, tokens: number, type: KvType): number {
    return 2 * spec.layers * pagesFor(tokens) * PAGE_SLOTS * spec.kvHeads * spec.headDim * KV_BYTES[type];
  }
}
