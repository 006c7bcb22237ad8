/**
 * RoPE's scaling of a GGUF file as `rope_scaling` of a `config.json`: in metadata, or already worked out as divisors of the
 * frequencies that stand in tensors (Llama 3's scaling comes to one list, LongRoPE has two).
 *
 * Source: `llama-model.cpp` and `llama-context.cpp` of https://github.com/ggml-org/llama.cpp.
 */

import type { GgufTensor } from "./gguf.ts";

/** Reads a small tensor of F32. */
export type ReadFloats = (tensor: GgufTensor) => Promise<number[]>;

/** Divisors that serve every length. */
export const ROPE_DIVISORS = "rope_freqs.weight";
const TENSORS = [ROPE_DIVISORS, "rope_factors_short.weight", "rope_factors_long.weight"] as const;

/**
 * @param get metadata by key, without the architecture's name
 * @param maxPositionEmbeddings what stands in for an original context that is not told
 * @returns null where nothing is scaled
 */
export async function readRopeScaling(
  get: (key: string) => unknown,
  tensors: ReadonlyMap<string, GgufTensor>,
  readFloats: ReadFloats,
  maxPositionEmbeddings: unknown,
): Promise<Record<string, unknown> | null> {
  const [divisors, short, long] = await Promise.all(
    TENSORS.map((name) => {
      const tensor = tensors.get(name);
      return tensor && readFloats(tensor);
    }),
  );
  const original = get("rope.scaling.original_context_length");
  const attention = get("rope.scaling.attn_factor");
  const lists = divisors ? { short: divisors, long: divisors } : { short, long };
  if (lists.short && lists.long) {
    return {
      rope_type: "longrope",
      short_factor: lists.short,
      long_factor: lists.long,
      original_max_position_embeddings: original ?? maxPositionEmbeddings,
      attention_factor: divisors ? 1 : (positive(attention) ?? null),
    };
  }
  const factor = get("rope.scaling.factor") ?? get("rope.scale_linear") ?? 0;
  const type = get("rope.scaling.type") ?? "linear";
  if (type === "none" || (type === "linear" && (factor === 0 || factor === 1))) return null;
  return {
    rope_type: type,
    factor,
    original_max_position_embeddings: original ?? null,
    ...(type === "yarn" && yarn(get, factor, positive(attention))),
  };
}

/** llama.cpp multiplies what YaRN does to the scores by a factor of its own; transformers has one number for both. */
function yarn(get: (key: string) => unknown, factor: unknown, attention = 1): Record<string, unknown> {
  const all = get("rope.scaling.yarn_attn_factor"); // as transformers has it
  const dimensions = positive(get("rope.scaling.yarn_log_multiplier"));
  const own = attention === 1 ? undefined : attention * (1 + 0.1 * Math.log(Number(factor)));
  return {
    beta_fast: get("rope.scaling.yarn_beta_fast") ?? null,
    beta_slow: get("rope.scaling.yarn_beta_slow") ?? null,
    attention_factor: all ?? own ?? null,
    ...(dimensions && { mscale: 1, mscale_all_dim: dimensions }),
  };
}

function positive(value: unknown): number | undefined {
  return typeof value === "number" && value > 0 ? value : undefined;
}
