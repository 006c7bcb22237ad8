/**
 * The KV cache: keys and values of each layer, one slot a position.
 *
 * `keys[layer]`, `values[layer]`: `[contextLength][kvHeads][headDim]` of the cache's type (kernels/kv_format.ts). How many
 * slots are committed is one integer on the GPU (`State.length`); what lies past it is never read, so rolling back touches
 * nothing here.
 */

import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { KV_BYTES, type KvType } from "../kernels/kv_format.ts";
import type { ModelSpec } from "../model/spec.ts";
import { requireContext } from "./context_limit.ts";

export class KvCache {
  readonly type: KvType;
  readonly keys: readonly GPUBuffer[];
  readonly values: readonly GPUBuffer[];
  /** Bytes of a layer's keys in a slot, and of its values. */
  readonly slotBytes: number;

  /** @throws InputError for a context that no pass can serve here: what other buffers cannot hold is refused with it */
  constructor(device: Device, spec: ModelSpec, contextLength: number, type: KvType) {
    requireContext(device.ledger.bindableBytes, spec, contextLength, type);
    this.type = type;
    this.slotBytes = spec.kvHeads * spec.headDim * KV_BYTES[type];
    const bytes = contextLength * this.slotBytes;
    const usage = BufferUsage.STORAGE | BufferUsage.COPY_SRC | BufferUsage.COPY_DST;
    const perLayer = (what: string) =>
      Array.from({ length: spec.layers }, (_, i) => device.ledger.allocate("kv", `layer ${i} ${what}`, bytes, usage));
    this.keys = perLayer("keys");
    this.values = perLayer("values");
  }

  /** Bytes the cache of a context takes. */
  static bytes(spec: ModelSpec, contextLength: number, type: KvType): number {
    return 2 * spec.layers * contextLength * spec.kvHeads * spec.headDim * KV_BYTES[type];
  }
}
