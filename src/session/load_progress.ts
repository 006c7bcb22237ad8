/** How far a load is: phases, bytes, rate and time left, and what it has cost so far. */

import { hostBytes } from "#platform";
import type { DownloadProgress, LoadPhase, LoadProgress, LoadStats } from "../types.ts";

/** A rate is that of the last few seconds: what a server gave a minute ago says nothing of now. */
const RATE_WINDOW_MS = 5000;

interface Sample {
  at: number;
  bytes: number;
}

export class LoadMeter {
  readonly #onProgress: (progress: LoadProgress) => void;
  readonly #started = performance.now();
  readonly #seconds: Record<LoadPhase, number> = { download: 0, read: 0, upload: 0, compile: 0 };
  readonly #files = new Map<string, DownloadProgress>();
  readonly #samples = new Map<LoadPhase, Sample[]>();
  #phase: LoadPhase = "read";
  #phaseBegan = this.#started;
  #ended: number | undefined;
  #hostPeakBytes = hostBytes() ?? 0;

  constructor(onProgress: ((progress: LoadProgress) => void) | undefined) {
    this.#onProgress = onProgress ?? (() => {});
  }

  /** What has come over the network, or was there already. */
  readonly download = (progress: DownloadProgress): void => {
    // What has come counts as fetched, also when the file is opened once more.
    const fetchedBytes = Math.max(progress.fetched, this.#files.get(progress.file)?.fetched ?? 0);
    const cached = Math.min(progress.cached, Math.max(0, progress.size - fetchedBytes));
    this.#files.set(progress.file, { ...progress, fetched: fetchedBytes, cached });
    const files = [...this.#files.values()];
    const loadedBytes = files.reduce((sum, { fetched, cached }) => sum + fetched + cached, 0);
    const totalBytes = files.reduce((sum, { size, fetched, cached }) => sum + Math.max(size, fetched + cached), 0);
    const fetched = files.reduce((sum, file) => sum + file.fetched, 0);
    this.report("download", loadedBytes, totalBytes, fetched);
  };

  /** @param gained what the rate is that of: what was there already came in no time */
  report(phase: LoadPhase, loadedBytes: number, totalBytes: number, gained = loadedBytes): void {
    const now = performance.now();
    this.#seconds[this.#phase] += (now - this.#phaseBegan) / 1000;
    this.#phase = phase;
    this.#phaseBegan = now;
    this.#hostPeakBytes = Math.max(this.#hostPeakBytes, hostBytes() ?? 0);
    const bytesPerSecond = this.#rate(phase, now, gained);
    this.#onProgress({
      ...{ phase, loadedBytes, totalBytes },
      ...(bytesPerSecond && { bytesPerSecond, secondsLeft: (totalBytes - loadedBytes) / bytesPerSecond }),
    });
  }

  /** Ends the count of time: the model is there. */
  finish(): void {
    const now = performance.now();
    this.#seconds[this.#phase] += (now - this.#phaseBegan) / 1000;
    this.#ended = now;
    this.#hostPeakBytes = Math.max(this.#hostPeakBytes, hostBytes() ?? 0);
  }

  /** What the load has cost. */
  stats(): LoadStats {
    const files = [...this.#files.values()];
    return {
      seconds: ((this.#ended ?? performance.now()) - this.#started) / 1000,
      phaseSeconds: { ...this.#seconds },
      fetchedBytes: files.reduce((sum, { fetched }) => sum + fetched, 0),
      cachedBytes: files.reduce((sum, { cached }) => sum + cached, 0),
      ...(this.#hostPeakBytes > 0 && { hostPeakBytes: this.#hostPeakBytes }),
    };
  }

  #rate(phase: LoadPhase, now: number, bytes: number): number | undefined {
    const samples = this.#samples.get(phase) ?? [];
    this.#samples.set(phase, samples);
    samples.push({ at: now, bytes });
    while (samples.length > 2 && now - samples[0]!.at > RATE_WINDOW_MS) samples.shift();
    const [first] = samples;
    const elapsed = now - first!.at;
    return elapsed > 0 && bytes > first!.bytes ? ((bytes - first!.bytes) / elapsed) * 1000 : undefined;
  }
}
