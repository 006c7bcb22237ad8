/** What tells one family of architectures from another. A family file is an instance of this and nothing else. */

import type { LayerTensors } from "../spec.ts";

export interface Family {
  /** Hugging Face `model_type`. */
  modelType: string;
  /**
   * Settings of `config.json` that change the arithmetic, with the one value whose arithmetic the engine has. Absent and
   * null stand for that value.
   */
  requires: Readonly<Record<string, string | number | boolean>>;
  /** Tensor names as the checkpoint has them. */
  tensors: {
    embedding: string;
    /** Comes before the layer's index, which a dot and one of `layer`'s names follow. */
    layers: string;
    layer: Readonly<Record<keyof LayerTensors, string>>;
    finalNorm: string;
    head: string;
  };
}
