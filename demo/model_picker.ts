/** The form that another model is chosen with, and what is found out about it. It shows and asks; it loads nothing. */

import type { ModelCheck } from "../src/index.ts";
import { bytesToFetch, downloadWords, kind, memoryWords, neededBytes } from "./check_words.ts";
import { watchFiles } from "./dropped_files.ts";
import { DTYPE_CHOICES, type DtypeChoice, dtypeName } from "./dtypes.ts";
import { byId, element } from "./elements.ts";
import { bytes } from "./format.ts";
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
  readonly #hub: URL;
  readonly #form = byId("picker", HTMLFormElement);
  readonly #details = byId("picker-details", HTMLDetailsElement);
  readonly #summary = byId("picker-summary", HTMLElement);
  readonly #name = byId("model-name", HTMLInputElement);
  readonly #dtype = byId("dtype", HTMLSelectElement);
  readonly #found = byId("found", HTMLElement);
  readonly #words = byId("found-words", HTMLElement);
  readonly #tokenField = byId("token-field", HTMLElement);
  readonly #tokenHost = byId("token-host", HTMLElement);
  readonly #token = byId("token", HTMLInputElement);
  readonly #load = byId("load", HTMLButtonElement);
  readonly #cancel = byId("cancel", HTMLButtonElement);
  readonly #stories = byId("stories", HTMLButtonElement);
  #busy = false;
  /** What the words are about, while it can be loaded. */
  #offer: { wanted: WantedModel; check: ModelCheck; note: (dtype: DtypeChoice) => string } | undefined;

  constructor(hub: URL, { choose, load, retype, cancel }: PickerEvents) {
    this.#hub = hub;
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

  /** The access token that was typed. It is kept in its field alone, until a model is loaded. */
  get token(): string | undefined {
    return this.#tokenField.hidden ? undefined : this.#token.value.trim() || undefined;
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
    if (this.#offer) return this.#showOffer();
    const head = element("p", "");
    head.append(element("b", "", wanted.label), " cannot be run here", kind(check) && ` (${kind(check)})`, ".");
    this.#say([head, element("p", "picker__problem", check.reason)]);
  }

  /** @param asksToken the hub wants to know who asks */
  showProblem(wanted: WantedModel, message: string, asksToken: boolean): void {
    this.#open();
    this.#offer = undefined;
    this.#say([element("p", "picker__problem", message)]);
    if (!asksToken) return;
    this.#tokenHost.textContent = (wanted.hub ?? this.#hub).host;
    this.#tokenField.hidden = false;
    this.#layOut();
    this.#token.focus();
  }

  /** Nothing was found, or it is no longer of interest. */
  clear(): void {
    this.#offer = undefined;
    this.#showDtypes();
    this.#say([]);
  }

  /**
   * @param current what is loaded now
   * @param offering what was found can still be loaded
   */
  showCurrent(current: WantedModel | undefined, offering: boolean): void {
    this.#summary.textContent = current?.label ?? "none";
    this.#stories.hidden = current === STORIES;
    if (offering) return this.#layOut();
    this.#token.value = "";
    this.#tokenField.hidden = true;
    this.clear();
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
    const head = element("p", "");
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
      option.disabled = check !== undefined && needed === undefined;
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
    const parts = [this.#tokenField, this.#load, this.#cancel, this.#stories];
    const empty = !this.#words.hasChildNodes() && parts.every(({ hidden }) => hidden);
    // Not hidden: a live region that appears with its words is not heard.
    this.#found.classList.toggle("picker__found--empty", empty);
  }
}
