/** A model's architecture with what its tokenizer and its name tell of it. */

import { UnsupportedModelError } from "../errors.ts";
import { EOS_CAPACITY } from "../kernels/constants.ts";
import { publishedRecipe } from "../model/layer_skip_checkpoints.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Checkpoint } from "../weights/checkpoint.ts";

/**
 * @param eosTokenIds ids that end a generation, beside those of the settings
 * @throws UnsupportedModelError where there are more of them than the GPU's state holds
 */
export function completedSpec(
  { name, spec }: Pick<Checkpoint, "name" | "spec">,
  eosTokenIds: readonly number[],
): ModelSpec {
  const layerSkip = spec.layerSkip ?? publishedRecipe(name, spec.layers);
  const all = [...new Set([...spec.eosTokenIds, ...eosTokenIds])];
  if (all.length > EOS_CAPACITY) {
    throw new UnsupportedModelError({
      file: name,
      field: "eos_token_id",
      found: `${all.length} ids`,
      expected: `at most ${EOS_CAPACITY}`,
    });
  }
  return { ...spec, eosTokenIds: all, ...(layerSkip && { layerSkip }) };
}
