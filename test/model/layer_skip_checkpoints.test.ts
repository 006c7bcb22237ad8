import { expect, test } from "vitest";
import { publishedRecipe } from "../../src/model/layer_skip_checkpoints.ts";

test("Meta's LayerSkip checkpoints are known by their names, wherever they lie", () => {
  const name = "facebook/layerskip-llama3.2-1B";
  for (const place of [`hf:${name}`, `https://huggingface.co/${name}/resolve/main/`, "/models/layerskip-llama3.2-1B"]) {
    expect(publishedRecipe(place, 16)).toEqual({ exitLayer: 4, draftLength: 4 });
  }
  expect(publishedRecipe("hf:facebook/layerskip-llama2-7B", 32)).toEqual({ exitLayer: 8, draftLength: 6 });
});

test("of those without published settings a quarter of the layers drafts", () => {
  expect(publishedRecipe("hf:facebook/layerskip-codellama-34B", 48)).toEqual({ exitLayer: 12, draftLength: 4 });
});

test("other models have no recipe, and none whose exit they do not have", () => {
  expect(publishedRecipe("hf:meta-llama/Llama-3.2-1B", 16)).toBeUndefined();
  expect(publishedRecipe("hf:someone/my-layerskip-model", 16)).toBeUndefined();
  expect(publishedRecipe("hf:facebook/layerskip-llama2-7B", 8)).toBeUndefined();
});
