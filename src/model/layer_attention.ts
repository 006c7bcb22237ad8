/** What each layer's attention does: its window and its rotations, as a list of types or as a period says. */

import { UnsupportedModelError } from "../errors.ts";
import { type Fields, quote } from "../json.ts";
import type { Family } from "./families/family.ts";
import { LAYER_TYPES, type LayerType, longestContext, readRope } from "./rope.ts";
import type { LayerAttention, RopeSpec } from "./spec.ts";

const MAX_WINDOW = 2 ** 30;

/** The sizes that rotations depend on. */
interface Sizes {
  layers: number;
  headDim: number;
  maxPositionEmbeddings: number;
}

/**
 * The attention of every layer, and the longest context that its rotations are made for.
 * @throws FileFormatError | UnsupportedModelError
 */
export function readLayerAttention(
  config: Fields,
  family: Family,
  { layers, headDim, maxPositionEmbeddings }: Sizes,
): { attention: LayerAttention[]; maxPositionEmbeddings: number } {
  const types = readLayerTypes(config, family, layers);
  const ropes = new Map<LayerType, RopeSpec>();
  const rope = (type: LayerType) => {
    const spec = ropes.get(type) ?? readRope(config, family, type, headDim, maxPositionEmbeddings);
    ropes.set(type, spec);
    return spec;
  };
  // Only where layers differ in it is a type's own object needed: equal rotations are one buffer.
  const shared =
    family.localRopeTheta || config.object("rope_parameters")?.get("full_attention")
      ? rope
      : () => rope("full_attention");
  const attention = types.map(
    (type, layer): LayerAttention => ({
      ...(type === "sliding_attention" && { window: config.integer("sliding_window", { min: 1, max: MAX_WINDOW }) }),
      ...(!family.ropeless?.(config, layer) && { rope: shared(type) }),
    }),
  );
  const longest = [...ropes.values()].map((spec) => longestContext(spec, maxPositionEmbeddings));
  return { attention, maxPositionEmbeddings: Math.max(maxPositionEmbeddings, ...longest) };
}

/** The type of every layer: as `layer_types` lists them, or as the family's period has it. */
function readLayerTypes(config: Fields, family: Family, layers: number): LayerType[] {
  const hasWindow = family.slides !== undefined && config.get("sliding_window") !== undefined;
  const listed = config.get("layer_types");
  if (listed === undefined) {
    return Array.from({ length: layers }, (_, layer) =>
      hasWindow && family.slides!(config, layer) ? "sliding_attention" : "full_attention",
    );
  }
  if (!Array.isArray(listed) || listed.length < layers) throw config.error("layer_types", `a list of ${layers} types`);
  return listed.slice(0, layers).map((type: unknown, layer) => {
    if (!LAYER_TYPES.some((known) => known === type)) {
      const expected = LAYER_TYPES.map((known) => `"${known}"`).join(" or ");
      const field = config.name(`layer_types[${layer}]`);
      throw new UnsupportedModelError({ file: config.file, field, found: quote(type), expected });
    }
    if (type === "sliding_attention" && !hasWindow) {
      throw config.error("sliding_window", `a window, as layer_types[${layer}] is "sliding_attention"`);
    }
    return type as LayerType;
  });
}
