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
    this.#bar.value = progress && progress.totalBytes > 0 ? progress.loadedBytes / progress.totalBytes : 0;
    this.#bar.setAttribute("aria-valuetext", words);
  }

  /** What is uploaded while it is downloaded waits for the download: that is what there is to be told. */
  #shown(): LoadProgress | undefined {
    const [latest, download] = [this.#latest, this.#download];
    const waits = latest?.phase === "upload" && download && download.loadedBytes < download.totalBytes;
    return waits ? download : latest;
  }
}

/** "Downloading: 12.3 MB of 98.1 MB, 4.51 MB a second, 19 s left". */
function phaseWords({ phase, loadedBytes, totalBytes, bytesPerSecond, secondsLeft }: LoadProgress): string {
  if (totalBytes === 0 || phase === "read" || phase === "compile") return `${PHASES[phase]}…`;
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
