/** How far a load or a download is, on stderr: one line of a terminal, drawn over as it changes and in the end erased. */

import type { LoadPhase, LoadProgress } from "../index.ts";
import { faint, note } from "./output.ts";
import { bytes } from "./size.ts";

const NAMES: Readonly<Record<LoadPhase, string>> = {
  download: "downloading",
  read: "reading settings and tokenizer",
  upload: "uploading",
  compile: "compiling kernels",
};

/** The phases that count bytes. */
const COUNTED: readonly LoadPhase[] = ["download", "upload"];

const BAR_WIDTH = 24;

/** A narrower bar shows nothing. */
const LEAST_WIDTH = 8;

/** A terminal's line is drawn no more often, but for another phase. */
const DRAWN_MS = 100;

/** Where there is no terminal, a download prints a line no more often, and other phases none. */
const PRINTED_MS = 5000;

const DAY_SECONDS = 86_400;

/** A state in so many columns: a bar as wide as they leave room for, and what does not fit is left out, the end first. */
export function progressLine(progress: LoadProgress, columns: number): string {
  const { phase, loadedBytes, totalBytes } = progress;
  const [name, ...facts] = factsOf(progress);
  if (facts.length === 0) return `${name}...`.slice(0, columns);
  const text = facts.join("  ");
  const label = NAMES[phase].padEnd(NAMES.download.length);
  const width = Math.min(BAR_WIDTH, columns - `${label}  []  ${text}`.length);
  if (width < LEAST_WIDTH) return `${label}  ${text}`.slice(0, columns);
  const filled = Math.floor(width * Math.min(1, loadedBytes / totalBytes));
  return `${label}  [${"#".repeat(filled).padEnd(width, ".")}]  ${text}`;
}

/** Phase, bytes, rate and time left, as far as they are known. */
function factsOf({ phase, loadedBytes, totalBytes, bytesPerSecond, secondsLeft }: LoadProgress): string[] {
  const name = NAMES[phase];
  if (!COUNTED.includes(phase) || totalBytes === 0) return [name];
  return [
    ...[name, `${bytes(loadedBytes)} of ${bytes(totalBytes)}`],
    ...(bytesPerSecond === undefined ? [] : [`${bytes(Math.round(bytesPerSecond))}/s`]),
    ...(secondsLeft === undefined ? [] : [`${duration(secondsLeft)} left`]),
  ];
}

/** As 0:05, 12:34 or 1:02:03. */
function duration(seconds: number): string {
  if (seconds >= DAY_SECONDS) return "more than a day";
  const whole = Math.max(0, Math.ceil(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const two = (value: number) => String(value).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export class ProgressBar implements Disposable {
  readonly #terminal = process.stderr.isTTY === true && process.env.TERM !== "dumb";
  #phase: LoadPhase | undefined;
  #downloading = false;
  /** When a line was drawn or printed last. */
  #at = performance.now();

  readonly show = (progress: LoadProgress): void => {
    const { phase, loadedBytes, totalBytes } = progress;
    if (phase === "download") this.#downloading = loadedBytes < totalBytes;
    // What has come is uploaded while the rest comes, and that is waited for.
    if (phase === "upload" && this.#downloading) return;
    if (this.#terminal) this.#draw(progress);
    else if (phase === "download") this.#print(progress);
  };

  /** Erases the line. */
  end(): void {
    if (this.#terminal && this.#phase) process.stderr.write("\r\x1b[K");
    this.#phase = undefined;
  }

  [Symbol.dispose](): void {
    this.end();
  }

  #draw(progress: LoadProgress): void {
    const now = performance.now();
    if (progress.phase === this.#phase && now - this.#at < DRAWN_MS) return;
    this.#phase = progress.phase;
    this.#at = now;
    // In the last column a line would wrap.
    process.stderr.write(`\r${progressLine(progress, (process.stderr.columns || 80) - 1)}\x1b[K`);
  }

  #print(progress: LoadProgress): void {
    const now = performance.now();
    if (now - this.#at < PRINTED_MS) return;
    this.#at = now;
    note(faint(factsOf(progress).join("  ")));
  }
}
