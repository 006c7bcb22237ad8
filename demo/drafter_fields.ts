/** The form's part that says who drafts, and how much: the choice, and the sliders that it has. */

import type { DrafterName, Model } from "../src/index.ts";
import type { AdapterField } from "./adapter_field.ts";
import { DRAFTERS, drafterHint } from "./drafters.ts";
import { byId } from "./elements.ts";
import { counted } from "./format.ts";
import { LayerDiagram } from "./layer_diagram.ts";

export interface DrafterSettings {
  drafter: DrafterName;
  /** Of drafters that have layers. */
  exitLayer: number;
  draftLength: number;
  /** Of drafters that make trees. */
  treeSize: number;
}

/** The library drafts up to 31 tokens; beyond about 15 a draft is hardly ever right to its end. */
const LONGEST_DRAFT = 15;
/** An adapter's drafts are right less often than those of layers that were trained for it. */
const ADAPTER_DRAFT = 2;

export class DrafterFields {
  readonly #choice: RadioNodeList;
  readonly #adapter: AdapterField;
  readonly #hint = byId("drafter-hint", HTMLElement);
  readonly #exitLayerField = byId("exit-layer-field", HTMLElement);
  readonly #draftLengthField = byId("draft-length-field", HTMLElement);
  readonly #treeSizeField = byId("tree-size-field", HTMLElement);
  readonly #exitLayer = byId("exit-layer", HTMLInputElement);
  readonly #exitLayerValue = byId("exit-layer-value", HTMLElement);
  readonly #exitLayerHint = byId("exit-layer-hint", HTMLElement);
  readonly #draftLength = byId("draft-length", HTMLInputElement);
  readonly #draftLengthValue = byId("draft-length-value", HTMLElement);
  readonly #treeSize = byId("tree-size", HTMLInputElement);
  readonly #treeSizeValue = byId("tree-size-value", HTMLElement);
  readonly #treeSizeHint = byId("tree-size-hint", HTMLElement);
  readonly #diagram = new LayerDiagram(byId("layers", HTMLElement));

  /** @param adapter what stands below the drafter that has one */
  constructor(form: HTMLFormElement, adapter: AdapterField) {
    this.#adapter = adapter;
    this.#choice = form.elements.namedItem("drafter") as RadioNodeList;
    // Each drafter begins with the tree that suits it. Heard before the form shows what follows from it.
    for (const radio of this.#choice) radio.addEventListener("input", () => this.#beginTree());
  }

  /** Takes the ranges and the defaults of a model. */
  fit(model: Model): void {
    const { spec, defaults } = model;
    this.#adapter.begin(model);
    this.#exitLayer.max = String(spec.layers - 1);
    this.#exitLayer.value = String(defaults.exitLayer);
    this.#draftLength.max = String(LONGEST_DRAFT);
    this.#draftLength.value = String(Math.min(defaults.draftLength, LONGEST_DRAFT));
    this.#choice.value = defaults.drafter;
    this.#beginTree();
  }

  read(): DrafterSettings {
    return {
      drafter: this.#choice.value as DrafterName,
      exitLayer: this.#exitLayer.valueAsNumber,
      draftLength: this.#draftLength.valueAsNumber,
      treeSize: this.#treeSize.valueAsNumber,
    };
  }

  /** Everything beside the controls that follows from them. */
  show(model: Model): void {
    const { drafter, exitLayer, draftLength, treeSize } = this.read();
    const { layers: drafting, tree } = DRAFTERS[drafter];
    this.#hint.textContent = drafterHint(model, drafter);
    this.#exitLayerField.hidden = drafting !== "exit";
    this.#draftLengthField.hidden = !drafting;
    this.#adapter.shown = drafting === "adapter";
    this.#treeSizeField.hidden = !tree;

    const { layers } = model.spec;
    const others = layers - exitLayer;
    this.#exitLayerValue.textContent = `${exitLayer} of ${layers}`;
    this.#exitLayer.setAttribute("aria-valuetext", `${exitLayer} of ${layers}`);
    this.#exitLayerHint.textContent = `${counted(exitLayer, "layer")} ${exitLayer === 1 ? "drafts" : "draft"}, the other ${others} ${others === 1 ? "verifies" : "verify"}.`;
    this.#diagram.show(layers, exitLayer);
    this.#draftLengthValue.textContent = String(draftLength);
    this.#treeSizeValue.textContent = String(treeSize);
    this.#treeSizeHint.textContent = tree?.hint ?? "";
  }

  /** "LayerSkip, exit 2, draft 4", "Lookup, tree 7". */
  get summary(): string {
    const { drafter, exitLayer, draftLength, treeSize } = this.read();
    const { name, layers, tree } = DRAFTERS[drafter];
    return [
      name,
      ...(layers ? [`${layers === "exit" ? `exit ${exitLayer}, ` : ""}draft ${draftLength}`] : []),
      ...(tree ? [`tree ${treeSize}`] : []),
    ].join(", ");
  }

  #beginTree(): void {
    const { layers, tree } = DRAFTERS[this.read().drafter];
    if (tree) this.#treeSize.value = String(tree.size);
    if (layers === "adapter") this.#draftLength.value = String(ADAPTER_DRAFT);
  }
}
