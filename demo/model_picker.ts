/** The form that another model is chosen with, and what is found out about it. It shows and asks; it loads nothing. */

import type { ModelCheck } from "../src/index.ts";
import { bytesToFetch, downloadWords, kind, memoryWords, neededBytes } from "./check_words.ts";
import { watchFiles } from "./dropped_files.ts";
import { DTYPE_CHOICES, type DtypeChoice, dtypeName } from "./dtypes.ts";
import { byId, element } from "./elements.ts";
import { bytes } from "./format.ts";
import { TokenField } from "./token_field.ts";
import { modelOfFiles, STORIES, typedModel, type WantedModel } from "./wanted_model.ts";

export interface PickerEvents {
  /** Another model is wanted. */
  choose(wanted: WantedModel): void;
  /** The model that was found is to be loaded. */
  load(): void;
  /** The model that is there may be wanted in another type of weights. */
  retype(): void;
  /** What goes on is to end. */
  cancel(): void;
}

/** From here on the form is in sight; below it folds (picker.css). */
const WIDE = matchMedia("(min-width: 56rem)");

export class ModelPicker {
  readonly #form = byId("picker", HTMLFormElement);
  readonly #details = byId("picker-details", HTMLDetailsElement);
  readonly #summary = byId("picker-summary", HTMLElement);
  readonly #name = byId("model-name", HTMLInputElement);
  readonly #dtype = byId("dtype", HTMLSelectElement);
  readonly #found = byId("found", HTMLElement);
  readonly #words = byId("found-words", HTMLElement);
  readonly #token = new TokenField();
  readonly #load = byId("load", HTMLButtonElement);
  readonly #cancel = byId("cancel", HTMLButtonElement);
  readonly #stories = byId("stories", HTMLButtonElement);
  #busy = false;
  /** What the words are about, while it can be loaded. */
  #offer: { wanted: WantedModel; check: ModelCheck; note: (dtype: DtypeChoice) => string } | undefined;

  constructor(hub: URL, { choose, load, retype, cancel }: PickerEvents) {
    this.#details.open = WIDE.matches;
    WIDE.addEventListener("change", () => {
      this.#details.open ||= WIDE.matches;
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      choose(typedModel(this.#name.value, hub));
    });
    watchFiles((files, folder) => {
      this.#name.value = "";
      choose(modelOfFiles(files, folder));
    });
    this.#dtype.addEventListener("change", () => {
      if (this.#offer) this.#showOffer();
      else retype();
    });
    this.#load.addEventListener("click", load);
    this.#cancel.addEventListener("click", cancel);
    this.#stories.addEventListener("click", () => {
      this.#name.value = "";
      choose(STORIES);
    });
    this.#showDtypes();
  }

  /** Puts into the fields what the page's address says. */
  fill(name: string, dtype: DtypeChoice): void {
    this.#name.value = name;
    this.#dtype.value = dtype;
  }

  get dtype(): DtypeChoice {
    return DTYPE_CHOICES.find((dtype) => dtype === this.#dtype.value) ?? "auto";
  }

  /** The access token that was typed, until a model is loaded. */
  get token(): string | undefined {
    return this.#token.token;
  }

  /** Something goes on; a look-up or a load can be cancelled here. */
  set busy(busy: boolean) {
    this.#busy = busy;
    this.#layOut();
  }

  showChecking({ label }: WantedModel): void {
    this.#open();
    this.#offer = undefined;
    this.#showDtypes();
    this.#say([element("b", "", label), " is being looked up…"]);
  }

  /** @param note what else there is to say of it in a data type, or nothing */
  showFound(wanted: WantedModel, check: ModelCheck, note: (dtype: DtypeChoice) => string): void {
    this.#open();
    this.#offer = check.supported ? { wanted, check, note } : undefined;
    this.#showDtypes();
    this.#showOffer();
    if (this.#offer) return;
    const head = element("p");
    head.append(element("b", "", wanted.label), kind(check) && ` (${kind(check)})`, " cannot be run here.");
    this.#say([head, element("p", "picker__problem", check.reason)]);
  }

  showProblem(message: string): void {
    this.#open();
    this.#offer = undefined;
    this.#say([element("p", "picker__problem", message)]);
  }

  /** The hub wants to know who asks. */
  showRefusal(label: string, { hub, page }: NonNullable<WantedModel["repository"]>): void {
    this.showProblem(
      `${hub.host} does not give ${label} to everybody: it is private, gated or not there at all. An access token of ` +
        "somebody who may have it opens it; for a gated model accept the licence first, at ",
    );
    const link = element("a", "", page.href);
    link.href = page.href;
    link.rel = "noreferrer";
    link.target = "_blank";
    this.#words.lastElementChild?.append(link, ".");
    this.#token.ask(hub);
    this.#layOut();
  }

  /** Nothing was found, or it is no longer of interest. */
  clear(): void {
    this.#offer = undefined;
    this.#token.clear();
    this.#showDtypes();
    this.#say([]);
  }

  /** @param current what is loaded now */
  showCurrent(current: WantedModel | undefined): void {
    this.#summary.textContent = current?.label ?? "none";
    this.#stories.hidden = current === STORIES;
  }

  /** Models to choose from while typing. */
  suggest(names: readonly string[]): void {
    byId("model-names", HTMLDataListElement).replaceChildren(
      ...names.map((name) => {
        const option = element("option");
        option.value = name;
        return option;
      }),
    );
  }

  #open(): void {
    this.#details.open = true;
  }

  #showOffer(): void {
    if (!this.#offer) return;
    const { wanted, check, note } = this.#offer;
    const head = element("p");
    head.append(element("b", "", wanted.label), kind(check) && ` · ${kind(check)}`);
    const words = [downloadWords(check), memoryWords(check, this.dtype), note(this.dtype)].filter(Boolean).join(" ");
    this.#say([head, element("p", "picker__facts", words)]);
    const missing = bytesToFetch(check);
    this.#load.textContent = missing > 0 ? `Load (${bytes(missing)})` : "Load";
    this.#layOut();
  }

  /** The types of weights, with what the model that was found takes in each. */
  #showDtypes(): void {
    const check = this.#offer?.check;
    const chosen = this.dtype;
    const options = DTYPE_CHOICES.map((dtype) => {
      const needed = check && neededBytes(check, dtype);
      const held = dtype === "auto" && check?.recommendedDtype ? `auto: ${dtypeName(check.recommendedDtype)}` : dtype;
      const option = element("option", "", needed === undefined ? held : `${held}, ${bytes(needed)}`);
      option.value = dtype;
      option.disabled = check?.memory?.availableBytes !== undefined && needed === undefined;
      return option;
    });
    this.#dtype.replaceChildren(...options);
    this.#dtype.value = chosen;
  }

  #say(words: readonly (Node | string)[]): void {
    this.#words.replaceChildren(...words);
    this.#layOut();
  }

  /** What there is to press; the line takes room only while it holds something. */
  #layOut(): void {
    this.#load.hidden = this.#busy || !this.#offer;
    this.#cancel.hidden = !this.#busy || !this.#words.hasChildNodes();
    const empty = !this.#words.hasChildNodes() && !this.#token.shown && this.#load.hidden && this.#cancel.hidden;
    // Not hidden: a live region that appears with its words is not heard.
    this.#found.classList.toggle("picker__found--empty", empty);
  }
}
