/** What a caller says of drafting: checked, and completed with what the model's defaults say. */

import { CONTROLLER_NAMES, type ControllerName } from "../decode/controllers/registry.ts";
import { HOST_TREE_SIZE, type HostDrafter } from "../decode/drafters/host_drafter.ts";
import { DRAFTER_KINDS, type DrafterKind } from "../decode/plan.ts";
import { InputError } from "../errors.ts";
import { MAX_DRAFT_LENGTH, MAX_TREE_SIZE } from "../kernels/constants.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { AcceptRule, DrafterName, GenerateOptions } from "../types.ts";
import type { ExitAdapterInfo } from "../weights/exit_adapter.ts";
import { DraftModel } from "./draft_model.ts";
import { requireChoice, requireInteger } from "./options.ts";

/** How a generation drafts. */
export interface Drafting {
  /** `auto`: the governor chooses among drafters. */
  drafter: DrafterKind | "auto";
  /** undefined: plain decoding. */
  controller: ControllerName | undefined;
  /** Of drafters of layers. */
  exitLayer: number;
  /** Of controllers that choose none; 0 where no layers draft. */
  draftLength: number;
  /** Of drafters of trees. */
  treeSize: number;
  acceptRule: AcceptRule;
  /** The caller's drafter. */
  own?: HostDrafter;
  /** The second model that drafts. */
  model?: DraftModel;
}

/** What `generate` does when its options say nothing. */
export interface GenerationDefaults {
  drafter: DrafterName;
  exitLayer: number;
  draftLength: number;
}

/** The options that say how to draft. */
export type DraftingOptions = Pick<
  GenerateOptions,
  "drafter" | "exitLayer" | "draftLength" | "treeSize" | "controller" | "hotVocabulary" | "acceptRule"
>;

/** Draft length where a checkpoint recommends none. */
const DEFAULT_DRAFT_LENGTH = 4;
/** An adapter's exit agrees half as often as one that was trained with the model. */
const ADAPTER_DRAFT_LENGTH = 2;
const isNamed = (kind: DrafterKind): kind is Exclude<DrafterKind, "model" | "own"> =>
  kind !== "model" && kind !== "own";
export const DRAFTER_NAMES: readonly DrafterName[] = ["auto", ...DRAFTER_KINDS.filter(isNamed)];
/** Rows of their trees: with the pending token's, as many as are read in one pass over the weights. */
const TREE_SIZES = { lookup: 7, recycle: 15 } as const;
/** Drafts and phrases of an Ouroboros round, and the fewest phrases. */
const OUROBOROS_ROWS = 7;
const LEAST_PHRASES = 3;
/** Controllers of drafters that have no layers to choose from, and no drafts one after the other. */
const TREE_CONTROLLERS: readonly ControllerName[] = ["fixed", "governor"];

/** The exit adapter that is loaded, as far as drafting goes. */
export type DraftingAdapter = Pick<ExitAdapterInfo, "exitLayer" | "hotIds">;

export function generationDefaults({ layers, layerSkip }: ModelSpec, adapter?: DraftingAdapter): GenerationDefaults {
  return {
    drafter: layerSkip || adapter ? "auto" : "none",
    exitLayer: layerSkip?.exitLayer ?? Math.max(1, Math.floor(layers / 4)),
    draftLength: Math.min(layerSkip?.draftLength ?? DEFAULT_DRAFT_LENGTH, MAX_DRAFT_LENGTH),
  };
}

/** @throws InputError naming the option, what was found and what was expected */
export function readDrafting(
  where: string,
  { layers, layerSkip }: ModelSpec,
  defaults: GenerationDefaults,
  options: DraftingOptions,
  adapter?: DraftingAdapter,
): Drafting {
  const { exitLayer = defaults.exitLayer, draftLength = defaults.draftLength } = options;
  const acceptRule = options.acceptRule ?? "invariant";
  const plain: Drafting = {
    ...{ drafter: "none", controller: undefined, exitLayer: layers },
    ...{ draftLength: 0, treeSize: 0, acceptRule },
  };
  // Who says how to draft wants drafts, whatever the checkpoint was trained for.
  const { treeSize, controller, hotVocabulary } = options;
  const asked = options.exitLayer ?? options.draftLength ?? treeSize ?? controller ?? (hotVocabulary || undefined);
  const suits = adapter && acceptRule !== "ratio" && (options.exitLayer ?? adapter.exitLayer) === adapter.exitLayer;
  const byLayers = suits ? "adapter" : "layerskip";
  const { drafter: given = asked === undefined ? defaults.drafter : byLayers } = options;
  if (given instanceof DraftModel) return modelDrafting(where, given, options);
  if (typeof given === "object") return ownDrafting(where, given, options);
  const drafter = requireChoice(where, "drafter", given, DRAFTER_NAMES);
  if (drafter === "lookup" || drafter === "recycle") {
    return { drafter, ...treeDrafting(where, drafter, options, TREE_SIZES[drafter]) };
  }
  if (drafter === "adapter") return adapterDrafting(where, adapter, options);
  if (asked === undefined && drafter === "none") return plain;
  if (drafter === "auto" && layerSkip === undefined && asked === undefined) {
    return acceptRule === "ratio" ? plain : { ...plain, drafter, controller: "governor" };
  }
  if (drafter === "auto" && options.controller !== undefined && options.controller !== "governor") {
    const expected = "'governor', or drafter 'layerskip'";
    throw new InputError({
      file: where,
      field: "controller",
      found: `'${options.controller}' with drafter 'auto'`,
      expected,
    });
  }
  if (drafter === "auto" && treeSize !== undefined) {
    const expected = "no tree size, or another drafter: the governor chooses it";
    throw new InputError({ file: where, field: "treeSize", found: `${treeSize} with drafter 'auto'`, expected });
  }
  if (layers < 2 && drafter === "none") return plain;
  if (layers < 2) {
    throw new InputError({ file: where, field: "drafter", found: "a model of 1 layer", expected: "2 layers or more" });
  }
  const drafting: Drafting = {
    drafter,
    controller: requireChoice(
      where,
      "controller",
      options.controller ?? (drafter === "auto" ? "governor" : "fixed"),
      CONTROLLER_NAMES,
    ),
    exitLayer: requireInteger(where, "exitLayer", exitLayer, 1, layers - 1),
    draftLength: requireInteger(where, "draftLength", draftLength, 1, MAX_DRAFT_LENGTH),
    ...{ treeSize: 0, acceptRule },
  };
  if (drafter === "none") return plain;
  if (drafter === "ouroboros") return withTree(where, drafting, options, OUROBOROS_ROWS - drafting.draftLength);
  if (drafter === "layerskip" && options.treeSize) return withTree(where, drafting, options, options.treeSize);
  return drafting;
}

/** The first layers and an adapter behind them: its exit layer is its own. */
function adapterDrafting(where: string, adapter: DraftingAdapter | undefined, options: DraftingOptions): Drafting {
  const drafter = "adapter";
  const refuse = (field: keyof DraftingOptions, found: string, expected: string): never => {
    throw new InputError({ file: where, field, found, expected });
  };
  if (!adapter)
    return refuse(
      "drafter",
      `'${drafter}' without an exit adapter`,
      "one loaded: model.loadExitAdapter, the option exitAdapter of load, --exit-adapter FILE",
    );
  const { exitLayer } = adapter;
  const { draftLength = ADAPTER_DRAFT_LENGTH, treeSize, hotVocabulary, controller = "fixed" } = options;
  if (options.exitLayer !== undefined && options.exitLayer !== exitLayer) {
    refuse("exitLayer", `${options.exitLayer} with drafter '${drafter}'`, `${exitLayer}, where the adapter stands`);
  }
  if (hotVocabulary && adapter.hotIds !== undefined) {
    refuse("hotVocabulary", `${hotVocabulary} with an adapter that has ids of its own`, "no such option");
  }
  refuseRatio(where, drafter, options);
  const drafting: Drafting = {
    ...{ drafter, exitLayer, treeSize: 0, acceptRule: "invariant" },
    controller: requireChoice(where, "controller", controller, CONTROLLER_NAMES),
    draftLength: requireInteger(where, "draftLength", draftLength, 1, MAX_DRAFT_LENGTH),
  };
  return treeSize ? withTree(where, drafting, options, treeSize) : drafting;
}

/** A chain of drafts by layers with a tree on top of it. */
function withTree(where: string, drafting: Drafting, options: DraftingOptions, defaultSize: number): Drafting {
  refuseRatio(where, drafting.drafter, options);
  requireChoice(where, "controller", options.controller ?? "fixed", TREE_CONTROLLERS);
  const { draftLength } = drafting;
  const { treeSize = Math.max(LEAST_PHRASES, defaultSize) } = options;
  return { ...drafting, treeSize: requireInteger(where, "treeSize", treeSize, 1, MAX_TREE_SIZE - draftLength) };
}

function refuseRatio(where: string, drafter: string, { acceptRule }: DraftingOptions): void {
  if (acceptRule !== "ratio") return;
  const found = `'ratio' with drafter '${drafter}'`;
  const expected = "'invariant', or drafter 'layerskip': it needs the draft's distribution";
  throw new InputError({ file: where, field: "acceptRule", found, expected });
}

/** Options that only drafters of layers take. */
const LAYER_OPTIONS = ["exitLayer", "draftLength", "hotVocabulary"] as const;

/** What holds for every drafter that has no layers: its tree, and who plans it. */
function treeDrafting(where: string, name: string, options: DraftingOptions, defaultSize: number) {
  for (const field of LAYER_OPTIONS) {
    if (options[field] === undefined || (field === "hotVocabulary" && options[field] === 0)) continue;
    const expected = "a drafter of layers, or no such option";
    throw new InputError({ file: where, field, found: `${options[field]} with drafter '${name}'`, expected });
  }
  refuseRatio(where, name, options);
  return {
    ...{ exitLayer: 0, draftLength: 0, acceptRule: "invariant" as const },
    controller: requireChoice(where, "controller", options.controller ?? "fixed", TREE_CONTROLLERS),
    treeSize: requireInteger(where, "treeSize", options.treeSize ?? defaultSize, 1, MAX_TREE_SIZE),
  };
}

/** Drafts of a second model are a chain, as long as `draftLength` says. */
function modelDrafting(where: string, model: DraftModel, options: DraftingOptions): Drafting {
  const { draftLength = DEFAULT_DRAFT_LENGTH, ...others } = options;
  for (const field of ["treeSize", "hotVocabulary"] as const) {
    if (!options[field]) continue;
    const [found, expected] = [`${options[field]} with a draft model`, "no such option"];
    throw new InputError({ file: where, field, found, expected });
  }
  return {
    ...treeDrafting(where, model.name, others, 1),
    ...{ drafter: "model", model, treeSize: 0 },
    draftLength: requireInteger(where, "draftLength", draftLength, 1, MAX_DRAFT_LENGTH),
  };
}

function ownDrafting(where: string, own: HostDrafter, options: DraftingOptions): Drafting {
  if (typeof own?.propose !== "function" || typeof own.name !== "string") {
    const expected = "a name, or an object with a `name` and a method `propose`";
    throw new InputError({
      file: where,
      field: "drafter",
      found: own === null ? "null" : "an object without",
      expected,
    });
  }
  const size = requireInteger(where, "drafter.treeSize", own.treeSize ?? HOST_TREE_SIZE, 1, MAX_TREE_SIZE);
  return { drafter: "own", own, ...treeDrafting(where, own.name, options, size) };
}
