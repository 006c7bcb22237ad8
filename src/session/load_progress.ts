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
    this.#files.set(progress.file, progress);
    const files = [...this.#files.values()];
    const loadedBytes = files.reduce((sum, { fetched, cached }) => sum + fetched + cached, 0);
    const totalBytes = files.reduce((sum, { size, fetched, cached }) => sum + Math.max(size, fetched + cached), 0);
    this.report("download", loadedBytes, totalBytes);
  };

  report(phase: LoadPhase, loadedBytes: number, totalBytes: number): void {
    const now = performance.now();
    this.#seconds[this.#phase] += (now - this.#phaseBegan) / 1000;
    this.#phase = phase;
    this.#phaseBegan = now;
    this.#hostPeakBytes = Math.max(this.#hostPeakBytes, hostBytes() ?? 0);
    const bytesPerSecond = this.#rate(phase, now, loadedBytes);
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
