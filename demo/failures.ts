/** Failures in words, and the places of the page that show them. */

import { GpuUnavailableError, LayerLeapError } from "../src/index.ts";
import { byId } from "./elements.ts";

/** After these the model is gone or not to be trusted; others (a prompt too long, say) leave it as it was. */
const FATAL_CODES: readonly string[] = [
  "device-lost",
  "disposed",
  "gpu",
  "gpu-memory",
  "integrity",
  "non-finite-logits",
  "source",
];

export class Failures {
  readonly #noWebGpu = byId("no-webgpu", HTMLElement);
  readonly #noWebGpuReason = byId("no-webgpu-reason", HTMLElement);
  readonly #failure = byId("failure", HTMLElement);
  readonly #title = byId("failure-title", HTMLElement);
  readonly #text = byId("failure-text", HTMLElement);
  readonly #reload = byId("reload", HTMLButtonElement);

  /** @param reload called when the reader wants to load the model again */
  constructor(reload: () => void) {
    this.#reload.addEventListener("click", reload);
  }

  clear(): void {
    this.#noWebGpu.hidden = true;
    this.#failure.hidden = true;
  }

  /**
   * @param title what did not work, for all but a missing GPU
   * @param reload offers to load the model again
   * @param remark what else there is to say
   */
  show(error: unknown, title: string, reload: boolean, remark = ""): void {
    if (error instanceof GpuUnavailableError) {
      this.#noWebGpuReason.textContent = asSentence(error.message);
      this.#noWebGpu.hidden = false;
      return;
    }
    this.#title.textContent = title;
    this.#text.textContent = [failureText(error), remark].filter(Boolean).join(" ");
    this.#reload.hidden = !reload;
    this.#failure.hidden = false;
    this.#failure.scrollIntoView({ block: "nearest" });
  }
}

/** Whether the model has to be loaded again after this error. Errors that are none of the library's count as such. */
export function isFatal(error: unknown): boolean {
  return !(error instanceof LayerLeapError) || FATAL_CODES.includes(error.code);
}

/** What an error says, as a sentence. */
export function failureText(error: unknown): string {
  return asSentence(error instanceof Error ? error.message : String(error));
}

/** With a capital, unless it starts with a file's name, and a full stop. */
function asSentence(message: string): string {
  const capital = message.replace(/^[a-z]+(?= )/, (word) => word.charAt(0).toUpperCase() + word.slice(1));
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}
