/** A second, smaller model that drafts for another one. */

import type { Forward } from "../forward/forward.ts";
import type { RowTable } from "../forward/row_table.ts";
import type { Device } from "../gpu/device.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { TextTokenizer } from "../text/tokenizer.ts";
import type { ModelDtype } from "../types.ts";

/** The model that it drafts for. @internal */
export interface DraftTarget {
  device: Device;
  table: RowTable;
  tokenizer: TextTokenizer;
  contextLength: number;
  /** Tokens of all texts together. */
  kvBudget: number;
  vocabSize: number;
}

interface DraftModelParts {
  name: string;
  spec: ModelSpec;
  dtype: ModelDtype;
  parameters: number;
  forward: Forward;
  /** Of the choice of its kernels. */
  warnings: readonly string[];
}

/** To be given to `generate` as its `drafter`. It is freed with the model that it drafts for. */
export class DraftModel {
  /** Where it was loaded from. */
  readonly name: string;
  readonly spec: ModelSpec;
  /** Number of weights. */
  readonly parameters: number;
  #dtype: ModelDtype;
  #forward: Forward;
  #warnings: readonly string[];

  /** @internal Use `model.loadDraftModel`. */
  constructor({ name, spec, dtype, parameters, forward, warnings }: DraftModelParts) {
    this.name = name;
    this.spec = spec;
    this.#dtype = dtype;
    this.parameters = parameters;
    this.#forward = forward;
    this.#warnings = warnings;
  }

  /** What its weights are held in on the GPU. */
  get dtype(): ModelDtype {
    return this.#dtype;
  }

  /** What computes it. @internal */
  get forward(): Forward {
    return this.#forward;
  }

  /** Is computed by what computes another one of the same model: its device is lost. @internal */
  moveTo(other: DraftModel): void {
    this.#dtype = other.#dtype;
    this.#forward = other.#forward;
    this.#warnings = other.#warnings;
  }

  /** What is not used because this device computes it wrong, or not to the bit; `model.warnings` has them too. */
  get warnings(): string[] {
    return [...this.#warnings, ...this.#forward.warnings];
  }
}
