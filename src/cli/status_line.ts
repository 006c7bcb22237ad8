/** A line on a terminal's stderr that says how far something is: drawn over as it changes, and in the end erased. */

/** It is drawn no more often. */
const DRAWN_MS = 100;

export class StatusLine implements Disposable {
  readonly #terminal = process.stderr.isTTY === true && process.env.TERM !== "dumb";
  #drawnAt: number | undefined;

  show(text: string): void {
    const now = performance.now();
    if (!this.#terminal || (this.#drawnAt !== undefined && now - this.#drawnAt < DRAWN_MS)) return;
    this.#drawnAt = now;
    // In the last column a line would wrap.
    process.stderr.write(`\r${text.slice(0, (process.stderr.columns || 80) - 1)}\x1b[K`);
  }

  [Symbol.dispose](): void {
    if (this.#drawnAt !== undefined) process.stderr.write("\r\x1b[K");
  }
}
