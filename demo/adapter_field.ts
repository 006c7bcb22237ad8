/** The form's part that fits an exit adapter to the model, and shows what it has made of its early exits. */

import type { CalibratedExit, Calibration, CalibrationProgress, Model } from "../src/index.ts";
import { byId, element } from "./elements.ts";
import { counted, duration, percent } from "./format.ts";

/** Tokens that the model writes, to be fitted on. */
export const FITTED_TOKENS = 2048;

const PHASES: Readonly<Record<CalibrationProgress["phase"], string>> = {
  write: "Writing a text",
  collect: "Reading it",
  solve: "Fitting maps",
  test: "Trying them",
};

export class AdapterField {
  readonly #root = byId("adapter-field", HTMLElement);
  readonly #words = byId("adapter-words", HTMLElement);
  readonly #table = byId("adapter-table", HTMLElement);
  readonly #fit = byId("adapter-fit", HTMLButtonElement);
  readonly #save = byId("adapter-save", HTMLButtonElement);
  readonly #progress = byId("adapter-progress", HTMLProgressElement);
  #bytes: Uint8Array<ArrayBuffer> | undefined;
  /** What was fitted to this model last. */
  #told: { calibration: Calibration; milliseconds: number } | undefined;

  /** @param fit asked to fit one */
  constructor(fit: () => void) {
    this.#fit.addEventListener("click", fit);
    this.#save.addEventListener("click", () => this.#download());
  }

  set shown(shown: boolean) {
    this.#root.hidden = !shown;
  }

  /** Another model, with an adapter of its own or none. */
  begin({ exitAdapter, spec }: Model): void {
    this.#told = undefined;
    this.#bytes = undefined;
    this.#save.hidden = true;
    this.#progress.hidden = true;
    this.#table.replaceChildren();
    this.#fit.textContent = exitAdapter ? "Fit another" : "Fit one";
    this.#words.textContent = exitAdapter
      ? `A ${exitAdapter.kind} adapter after layer ${exitAdapter.exitLayer} of ${spec.layers} came with the model.`
      : `None yet. The model writes ${FITTED_TOKENS.toLocaleString("en-US")} tokens, and a linear map from each early exit to its last layer is fitted on them.`;
  }

  progress({ phase, done }: CalibrationProgress): void {
    this.#progress.hidden = false;
    this.#progress.value = done;
    this.#words.textContent = `${PHASES[phase]}: ${percent(done)}.`;
  }

  /** It was stopped, or failed: all is as it was before. */
  stopped(model: Model): void {
    if (this.#told) this.#show(model, this.#told.calibration, this.#told.milliseconds);
    else this.begin(model);
  }

  /** What came of it. */
  end(model: Model, calibration: Calibration, milliseconds: number): void {
    this.#told = { calibration, milliseconds };
    this.#show(model, calibration, milliseconds);
  }

  #show(model: Model, calibration: Calibration, milliseconds: number): void {
    this.#progress.hidden = true;
    const { exitLayer, exits, tokens, testTokens, bytes } = calibration;
    this.#bytes = bytes;
    this.#save.hidden = false;
    this.#fit.textContent = "Fit again";
    this.#words.textContent =
      `Fitted on ${counted(tokens, "token")} in ${duration(milliseconds)}. ${verdict(exits, exitLayer)} ` +
      `Agreement with the whole model on ${testTokens} other tokens:`;
    this.#table.replaceChildren(table(exits, exitLayer, model.spec.layers));
  }

  #download(): void {
    if (!this.#bytes) return;
    const url = URL.createObjectURL(new Blob([this.#bytes]));
    const link = element("a");
    link.href = url;
    link.download = "exit-adapter.safetensors";
    link.click();
    setTimeout(() => URL.revokeObjectURL(url));
  }
}

/** By so much more a map has to agree to be worth a word. */
const NOTICEABLE = 0.02;

function verdict(exits: readonly CalibratedExit[], chosen: number): string {
  const { plainAgreement, agreement } = exits.find(({ exitLayer }) => exitLayer === chosen)!;
  if (agreement > plainAgreement + NOTICEABLE) return `It drafts after layer ${chosen} now.`;
  return `It drafts after layer ${chosen}, and no better than the exit by itself: this model was trained to exit early.`;
}

function table(exits: readonly CalibratedExit[], chosen: number, layers: number): HTMLTableElement {
  const made = element("table", "prices");
  const heads = element("tr");
  for (const head of [`Exit of ${layers}`, "alone", "with map"]) {
    const cell = element("th", "", head);
    cell.scope = "col";
    heads.append(cell);
  }
  made.createTHead().append(heads);
  const body = made.createTBody();
  for (const { exitLayer, plainAgreement, agreement } of exits) {
    const row = element("tr", exitLayer === chosen ? "prices__chosen" : "");
    const head = element("th", "", `layer ${exitLayer}`);
    head.scope = "row";
    if (exitLayer === chosen) head.append(element("span", "visually-hidden", " (chosen)"));
    row.append(head, element("td", "", percent(plainAgreement)), element("td", "", percent(agreement)));
    body.append(row);
  }
  return made;
}
