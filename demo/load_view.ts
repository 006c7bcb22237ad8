/** How far a load is: a bar, and beside it phase, bytes, rate and time left. */

import type { LoadPhase, LoadProgress } from "../src/index.ts";
import { byId } from "./elements.ts";
import { bytes, count } from "./format.ts";
import { perFrame } from "./frames.ts";

const PHASES: Record<LoadPhase, string> = {
  download: "Downloading",
  read: "Reading",
  upload: "To the GPU",
  compile: "Compiling",
};

export class LoadView {
  readonly #bar = byId("progress", HTMLProgressElement);
  readonly #text = byId("progress-text", HTMLElement);
  readonly #keys = byId("keys", HTMLElement);
  readonly #update = perFrame(() => this.#show());
  #latest: LoadProgress | undefined;
  #download: LoadProgress | undefined;

  begin(): void {
    this.#latest = undefined;
    this.#download = undefined;
    this.#update.flush();
    for (const shown of [this.#bar, this.#text]) shown.hidden = false;
    this.#keys.hidden = true;
  }

  readonly report = (progress: LoadProgress): void => {
    this.#latest = progress;
    if (progress.phase === "download") this.#download = progress;
    this.#update.request();
  };

  end(): void {
    this.#update.flush();
    for (const shown of [this.#bar, this.#text]) shown.hidden = true;
    this.#keys.hidden = false;
  }

  #show(): void {
    const progress = this.#shown();
    const words = progress ? phaseWords(progress) : "";
    this.#text.textContent = words;
    this.#text.dataset.phase = progress?.phase ?? "";
    if (progress && isMeasured(progress)) this.#bar.value = progress.loadedBytes / progress.totalBytes;
    else this.#bar.removeAttribute("value");
    this.#bar.setAttribute("aria-valuetext", words);
  }

  /** Weights that are uploaded while they are downloaded wait for the download: that is what there is to be told. */
  #shown(): LoadProgress | undefined {
    const [latest, download] = [this.#latest, this.#download];
    if (!latest || !download || latest.loadedBytes === 0) return latest;
    return download.loadedBytes < download.totalBytes ? download : latest;
  }
}

/** Whether there is a measure of how far it is. */
function isMeasured({ phase, totalBytes }: LoadProgress): boolean {
  return totalBytes > 0 && (phase === "download" || phase === "upload");
}

/** "Downloading: 12.3 MB of 98.1 MB, 4.51 MB a second, 19 s left". */
function phaseWords(progress: LoadProgress): string {
  const { phase, loadedBytes, totalBytes, bytesPerSecond, secondsLeft } = progress;
  if (!isMeasured(progress)) return `${PHASES[phase]}…`;
  const words = [`${PHASES[phase]}: ${bytes(loadedBytes)} of ${bytes(totalBytes)}`];
  if (bytesPerSecond !== undefined && loadedBytes < totalBytes) {
    words.push(`${bytes(bytesPerSecond)} a second`);
    if (secondsLeft !== undefined) words.push(`${timeLeft(secondsLeft)} left`);
  }
  return words.join(", ");
}

function timeLeft(seconds: number): string {
  if (seconds < 90) return `${count(Math.ceil(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}
