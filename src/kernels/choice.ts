/**
 * Which variant of each kernel a device gets. All compute the same within rounding; they differ in what they ask of the
 * hardware and in speed. A choice is made once, when a model is loaded, since another order of sums gives other bits.
 */

import type { Device } from "../gpu/device.ts";
import type { FewQueryVariant } from "./few_query_attention.ts";
import { type FewRowVariant, THREAD_VARIANT } from "./few_row_variant.ts";
import type { KvType } from "./kv_format.ts";
import type { ManyRowVariant } from "./many_row_matmul.ts";
import type { PromptVariant } from "./prompt_attention.ts";

export interface KernelChoice {
  /** Few-row matmul. */
  fewRows: FewRowVariant;
  /** Matmul of a prompt's rows. */
  manyRows: ManyRowVariant;
  /** Attention of generated rows. */
  attention: FewQueryVariant;
  /** Attention of a prompt's rows. */
  promptAttention: PromptVariant;
  /** Type of the KV cache. */
  kv: KvType;
}

/** Slices of the variants that share an output: enough threads for a large GPU, short enough to add up at once. */
const SLICES = 8;

/**
 * The best choice for a device, before anything was checked.
 *
 * A software adapter computes on a few cores that no barrier may hold up: one thread does a whole output. A GPU wants many
 * threads an output; they meet in a subgroup where its size is known to be enough, else in workgroup memory.
 */
export function bestChoice({ info }: Device): KernelChoice {
  return info.software
    ? { fewRows: THREAD_VARIANT, manyRows: "thread", attention: "threads", promptAttention: "threads", kv: "f32" }
    : { fewRows: sharedVariant(info), manyRows: "tiles", attention: "workgroup", promptAttention: "tiles", kv: "f32" };
}

/** Threads share an output in subgroups of any size the device may choose, or else in workgroup memory. */
export function sharedVariant(info: Device["info"]): FewRowVariant {
  const smallest = info.subgroupMinSize ?? 0;
  const slices = ([SLICES, 4] as const).find((size) => size <= smallest);
  return slices && info.features.includes("subgroups")
    ? { kind: "subgroup", slices }
    : { kind: "workgroup", slices: SLICES };
}
