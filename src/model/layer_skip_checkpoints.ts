/**
 * Published checkpoints that were trained with the LayerSkip recipe and whose `config.json` does not say so: Meta's. Known by
 * their names, with the settings that their authors measured: the README of facebookresearch/LayerSkip (7B), and Hugging
 * Face's "Faster Text Generation with Self-Speculative Decoding" (the others), the faster of two where there are two.
 */

import type { LayerSkipSpec } from "./spec.ts";

const RECIPES: readonly (readonly [name: RegExp, recipe: LayerSkipSpec])[] = [
  [/layerskip-llama2-7b/i, { exitLayer: 8, draftLength: 6 }],
  [/layerskip-llama2-13b/i, { exitLayer: 8, draftLength: 4 }],
  [/layerskip-llama2-70b/i, { exitLayer: 10, draftLength: 4 }],
  [/layerskip-llama3-8b/i, { exitLayer: 4, draftLength: 4 }],
  [/layerskip-llama3\.2-1b/i, { exitLayer: 4, draftLength: 4 }],
];

/** Meta's names for them; of those that nobody published settings for, a quarter of the layers drafts. */
const TRAINED = /facebook\/layerskip-/i;

/** How a checkpoint of this name and number of layers wants to be drafted; undefined where it is none of these. */
export function publishedRecipe(name: string, layers: number): LayerSkipSpec | undefined {
  const recipe = RECIPES.find(([pattern]) => pattern.test(name))?.[1];
  if (recipe) return recipe.exitLayer < layers ? recipe : undefined;
  if (!TRAINED.test(name) || layers < 2) return undefined;
  return { exitLayer: Math.max(1, Math.floor(layers / 4)), draftLength: 4 };
}
