/** What tells one family of architectures from another. A family file is an instance of this and nothing else. */

import type { Fields } from "../../json.ts";
import type { LayerTensors, ModelSpec, NormPlacement } from "../spec.ts";

/** Tensors of a layer that every family has under some name. */
export type LayerTensorName = keyof LayerTensors;

/** Numbers of a spec that a family takes from settings of its own. */
export type FamilyNumbers = Partial<
  Pick<
    ModelSpec,
    "attentionScale" | "attentionSoftCap" | "embeddingScale" | "residualScale" | "logitScale" | "logitSoftCap"
  >
>;

export interface Family {
  /** Hugging Face `model_type`. */
  modelType: string;
  /** What transformers takes for settings that `config.json` leaves out, where the engine would take something else. */
  defaults?: Readonly<Record<string, unknown>>;
  /**
   * Settings of `config.json` that change the arithmetic, with the one value whose arithmetic the engine has. Absent and
   * null stand for that value.
   */
  requires?: Readonly<Record<string, string | number | boolean>>;
  norms: NormPlacement;
  headNorm?: NonNullable<ModelSpec["headNorm"]>;
  normsAddOne?: boolean;
  /** Which products have biases: always, or where this setting says so. */
  biases?: { qkv?: true | string; output?: string; mlp?: string };
  /** Whether a layer has the window `sliding_window`, where `layer_types` does not tell. */
  slides?: (config: Fields, layer: number) => boolean;
  /** Whether a layer has no RoPE. */
  ropeless?: (config: Fields, layer: number) => boolean;
  /** Layers with a window rotate by a base of their own, without scaling: the setting, and its default. */
  localRopeTheta?: { key: string; fallback: number };
  numbers?: (config: Fields, sizes: { hiddenSize: number }) => FamilyNumbers;
  /** Queries, keys and values, or gate and up, as one tensor, one after the other. */
  fused?: { qkv: string; gateUp: string };
  /** Names of a layer's tensors that are not Llama's. */
  tensors?: Partial<Record<LayerTensorName, string>>;
}
