/** What a caller says of drafting: checked, and completed with what the model's defaults say. */

import { CONTROLLER_NAMES, type ControllerName } from "../decode/controllers/registry.ts";
import { InputError } from "../errors.ts";
import { MAX_DRAFT_LENGTH } from "../kernels/constants.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { DrafterName, GenerateOptions } from "../types.ts";
import { requireChoice, requireInteger } from "./options.ts";

/** How a generation drafts. */
export interface Drafting {
  /** undefined: plain decoding. */
  controller: ControllerName | undefined;
  exitLayer: number;
  /** Of controllers that choose none; 0 with plain decoding. */
  draftLength: number;
}

/** What `generate` does when its options say nothing. */
export interface GenerationDefaults {
  drafter: DrafterName;
  exitLayer: number;
  draftLength: number;
}

/** Draft length where a checkpoint recommends none. */
const DEFAULT_DRAFT_LENGTH = 4;
const DRAFTERS: readonly DrafterName[] = ["auto", "layerskip", "none"];

export function generationDefaults({ layers, layerSkip }: ModelSpec): GenerationDefaults {
  return {
    drafter: layerSkip ? "auto" : "none",
    exitLayer: layerSkip?.exitLayer ?? Math.max(1, Math.floor(layers / 4)),
    draftLength: Math.min(layerSkip?.draftLength ?? DEFAULT_DRAFT_LENGTH, MAX_DRAFT_LENGTH),
  };
}

/** @throws InputError naming the option, what was found and what was expected */
export function readDrafting(
  where: string,
  { layers, layerSkip }: ModelSpec,
  defaults: GenerationDefaults,
  options: Pick<GenerateOptions, "drafter" | "exitLayer" | "draftLength" | "controller" | "hotVocabulary">,
): Drafting {
  const plain: Drafting = { controller: undefined, exitLayer: layers, draftLength: 0 };
  // Who says how to draft wants drafts, whatever the checkpoint was trained for.
  const asked = options.exitLayer ?? options.draftLength ?? options.controller ?? (options.hotVocabulary || undefined);
  const drafter = requireChoice(
    where,
    "drafter",
    options.drafter ?? (asked === undefined ? defaults.drafter : "layerskip"),
    DRAFTERS,
  );
  const trained = layerSkip !== undefined;
  if (asked === undefined && (drafter === "none" || (drafter === "auto" && (!trained || layers < 2)))) return plain;
  if (drafter === "auto" && options.controller !== undefined && options.controller !== "governor") {
    const expected = "'governor', or drafter 'layerskip'";
    throw new InputError({
      file: where,
      field: "controller",
      found: `'${options.controller}' with drafter 'auto'`,
      expected,
    });
  }
  if (layers < 2 && drafter === "none") return plain;
  if (layers < 2) {
    throw new InputError({ file: where, field: "drafter", found: "a model of 1 layer", expected: "2 layers or more" });
  }
  const { exitLayer = defaults.exitLayer, draftLength = defaults.draftLength } = options;
  const drafting: Drafting = {
    controller: requireChoice(
      where,
      "controller",
      options.controller ?? (drafter === "auto" ? "governor" : "fixed"),
      CONTROLLER_NAMES,
    ),
    exitLayer: requireInteger(where, "exitLayer", exitLayer, 1, layers - 1),
    draftLength: requireInteger(where, "draftLength", draftLength, 1, MAX_DRAFT_LENGTH),
  };
  return drafter === "none" ? plain : drafting;
}
