/** A row of bars, one a layer: the ones that draft, then the ones that verify. */

import { element } from "./elements.ts";

/** More bars than this are drawn without a frame around each. */
const MANY = 16;

export class LayerDiagram {
  readonly #root: HTMLElement;

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  /** @param drafting the first so many layers draft */
  show(layers: number, drafting: number): void {
    const bars = Array.from({ length: layers }, (_, layer) =>
      element("span", layer < drafting ? "layer layer--draft" : "layer"),
    );
    this.#root.classList.toggle("layers--many", layers > MANY);
    this.#root.replaceChildren(...bars);
  }
}
