/**
 * RoPE's settings, as transformers 4 spells them (`rope_theta` and `rope_scaling` on top) and as transformers 5 does
 * (`rope_parameters`, one for all layers or one for each type of layer).
 */

import { UnsupportedModelError } from "../errors.ts";
import { type Fields, quote } from "../json.ts";
import type { Family } from "./families/family.ts";
import type { RopeScaling, RopeSpec } from "./spec.ts";

/** Types of layers, as `layer_types` names them. */
export const LAYER_TYPES = ["full_attention", "sliding_attention"] as const;
export type LayerType = (typeof LAYER_TYPES)[number];

const DEFAULT_THETA = 10_000;
const KNOWN = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"];

/** What scaling needs to know beside its own settings. */
interface Context {
  config: Fields;
  maxPositionEmbeddings: number;
  /** Pairs that are rotated. */
  pairs: number;
}

/**
 * The rotations of layers of a type.
 * @throws FileFormatError when a setting is missing or out of range; UnsupportedModelError for a scaling of another type
 */
export function readRope(
  config: Fields,
  family: Family,
  layerType: LayerType,
  headDim: number,
  maxPositionEmbeddings: number,
): RopeSpec {
  const parameters = config.object("rope_parameters");
  const own = parameters?.object(layerType);
  const local = layerType === "sliding_attention" ? family.localRopeTheta : undefined;
  const rope = own ?? (local ? undefined : parameters);
  const scalingFields = rope ?? (local ? undefined : config.object("rope_scaling"));
  const base = local ?? { key: "rope_theta", fallback: DEFAULT_THETA };
  const rotaryDim = readRotaryDim(rope, config, headDim);
  return {
    // transformers 5 lets its own spelling win.
    ropeTheta:
      rope?.get("rope_theta") === undefined ? config.positive(base.key, base.fallback) : rope.positive("rope_theta"),
    rotaryDim,
    scaling: scalingFields
      ? readScaling(scalingFields, { config, maxPositionEmbeddings, pairs: rotaryDim / 2 })
      : { type: "default" },
  };
}

/** The longest context that a scaling is made for. */
export function longestContext({ scaling }: RopeSpec, maxPositionEmbeddings: number): number {
  if (scaling.type !== "yarn" && scaling.type !== "dynamic") return maxPositionEmbeddings;
  return Math.max(maxPositionEmbeddings, Math.floor(scaling.factor * scaling.originalMaxPositionEmbeddings));
}

function readRotaryDim(rope: Fields | undefined, config: Fields, headDim: number): number {
  const holder = rope?.get("partial_rotary_factor") === undefined ? config : rope;
  const factor = holder.positive("partial_rotary_factor", 1);
  const rotaryDim = Math.floor(headDim * factor);
  if (factor > 1 || rotaryDim % 2 !== 0 || rotaryDim === 0) {
    throw holder.error("partial_rotary_factor", `a part of the head of ${headDim} that is an even number of elements`);
  }
  return rotaryDim;
}

function readScaling(rope: Fields, context: Context): RopeScaling {
  const { config, maxPositionEmbeddings } = context;
  const key = rope.get("rope_type") === undefined ? "type" : "rope_type";
  // A factor without a type is what the oldest files mean by "linear".
  const type =
    rope.get(key) === undefined ? (rope.get("factor") === undefined ? "default" : "linear") : rope.string(key);
  const factor = () => rope.positive("factor");
  const original = () => {
    const holder = rope.get("original_max_position_embeddings") === undefined ? config : rope;
    return holder.positive("original_max_position_embeddings", maxPositionEmbeddings);
  };
  switch (type) {
    case "default":
      return { type };
    case "linear":
      return { type, factor: factor() };
    case "dynamic":
      return { type, factor: factor(), originalMaxPositionEmbeddings: maxPositionEmbeddings };
    case "llama3":
      return {
        type,
        factor: factor(),
        lowFreqFactor: rope.positive("low_freq_factor"),
        highFreqFactor: rope.positive("high_freq_factor"),
        originalMaxPositionEmbeddings: original(),
      };
    case "yarn":
      return {
        type,
        factor: factor(),
        originalMaxPositionEmbeddings: original(),
        betaFast: rope.positive("beta_fast", 32),
        betaSlow: rope.positive("beta_slow", 1),
        attentionFactor: yarnAttentionFactor(rope, factor()),
        truncate: rope.boolean("truncate", true),
      };
    case "longrope":
    case "su": // what the first Phi-3 files call it
      return readLongRope(rope, context, original());
    default: {
      const expected = KNOWN.map((known) => `"${known}"`).join(", ");
      throw new UnsupportedModelError({ file: rope.file, field: rope.name(key), found: quote(type), expected });
    }
  }
}

/** YaRN (Peng et al. 2023, section 3.4), as transformers reads its `mscale` settings. */
function yarnAttentionFactor(rope: Fields, factor: number): number {
  if (rope.get("attention_factor") !== undefined) return rope.positive("attention_factor");
  const scaled = (mscale: number) => (factor > 1 ? 0.1 * mscale * Math.log(factor) + 1 : 1);
  if (rope.get("mscale") !== undefined && rope.get("mscale_all_dim") !== undefined) {
    return scaled(rope.positive("mscale")) / scaled(rope.positive("mscale_all_dim"));
  }
  return scaled(1);
}

/** LongRoPE (Ding et al. 2024), as Phi-3 uses it. */
function readLongRope(rope: Fields, { maxPositionEmbeddings, pairs }: Context, original: number): RopeScaling {
  const factors = (key: string) => {
    const divisors = rope.positives(key);
    if (divisors.length !== pairs) throw rope.error(key, `${pairs} numbers, one for each pair that is rotated`);
    return divisors;
  };
  const factor = rope.positive("factor", maxPositionEmbeddings / original);
  const computed = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
  return {
    type: "longrope",
    shortFactor: factors("short_factor"),
    longFactor: factors("long_factor"),
    originalMaxPositionEmbeddings: original,
    attentionFactor: rope.positive("attention_factor", computed),
  };
}
