/**
 * Who works on a model: several generations at a time, each in a lane and with room for all of its text in the KV cache, or something
 * else alone.
 *
 * First come, first served: nobody is let past one who waits for more. Nobody waits for ever either: where all who work have paused, since
 * nobody asks them for their next part, and that does not change, who waits is refused.
 */

import { BusyError } from "../errors.ts";
import { LANES } from "../kernels/constants.ts";

/** What a generation needs. */
export interface LaneRequest {
  /** Pages of the KV cache, at most. */
  pages: number;
  /** What it makes on the device is made for one text: nothing else may be generated meanwhile. */
  alone: boolean;
}

/** A lane, until it is released. */
export interface TakenLane {
  readonly lane: number;
  /** Tells whether it computes, or has paused until somebody asks for more. */
  readonly works: (does: boolean) => void;
  readonly release: () => void;
}

interface Waiting extends LaneRequest {
  readonly admit: (taken: TakenLane) => void;
  readonly refuse: (error: unknown) => void;
}

/** How long one waits for others who have all paused. */
const PATIENCE_MS = 5000;

export class Lanes {
  readonly #pages: number;
  readonly #patienceMs: number;
  /** Who works, and has not paused. */
  #working = 0;
  #impatience: ReturnType<typeof setTimeout> | undefined;
  readonly #free = Array.from({ length: LANES }, (_, i) => i);
  readonly #waiting: Waiting[] = [];
  #pagesTaken = 0;
  /** Somebody works alone. */
  #alone = false;
  #closed: Error | undefined;

  /** @param pages of the KV cache */
  constructor(pages: number, patienceMs = PATIENCE_MS) {
    this.#pages = pages;
    this.#patienceMs = patienceMs;
  }

  /** Whether anybody works, or waits to. */
  get busy(): boolean {
    return this.#alone || this.#free.length < LANES || this.#waiting.length > 0;
  }

  /**
   * The model for something that is no generation, at once.
   * @returns how to give it back
   * @throws BusyError
   */
  takeAlone(): () => void {
    if (this.#closed) throw this.#closed;
    if (this.busy) throw new BusyError();
    this.#alone = true;
    this.#working++;
    return once(() => {
      this.#alone = false;
      this.#working--;
      this.#admit();
    });
  }

  /**
   * A lane, when it is one's turn.
   * @returns undefined when the signal aborted before
   * @throws what the model was closed with; BusyError where those that it waits for have paused for long
   */
  async take(request: LaneRequest, signal: AbortSignal): Promise<TakenLane | undefined> {
    if (this.#closed) throw this.#closed;
    if (signal.aborted) return undefined;
    let leave = () => {};
    const admitted = new Promise<TakenLane | undefined>((admit, refuse) => {
      const waiting = { ...request, admit, refuse };
      this.#waiting.push(waiting);
      leave = () => {
        const place = this.#waiting.indexOf(waiting);
        if (place < 0) return;
        this.#waiting.splice(place, 1);
        admit(undefined);
        this.#admit();
      };
    });
    signal.addEventListener("abort", leave, { once: true });
    this.#admit();
    try {
      return await admitted;
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }

  /** Refuses all who wait and will ask. */
  close(error: Error): void {
    this.#closed = error;
    this.#refuseAll(error);
  }

  #refuseAll(error: Error): void {
    for (const { refuse } of this.#waiting.splice(0)) refuse(error);
    this.#watch();
  }

  /** Counts the time during which somebody waits and nobody works. */
  #watch(): void {
    const stuck = this.#waiting.length > 0 && this.#working === 0;
    if (stuck) {
      this.#impatience ??= setTimeout(() => {
        this.#impatience = undefined;
        this.#refuseAll(new BusyError("a generation that nobody reads on holds what this one needs"));
      }, this.#patienceMs);
    } else {
      clearTimeout(this.#impatience);
      this.#impatience = undefined;
    }
  }

  #admit(): void {
    this.#admitWhoFits();
    this.#watch();
  }

  #admitWhoFits(): void {
    for (;;) {
      const [next] = this.#waiting;
      if (!next || this.#alone || this.#free.length === 0) return;
      const isFirst = this.#free.length === LANES;
      if (!isFirst && (next.alone || this.#pagesTaken + next.pages > this.#pages)) return;
      this.#waiting.shift();
      const { pages, alone } = next;
      const lane = this.#free.shift()!;
      this.#pagesTaken += pages;
      this.#alone = alone;
      this.#working++;
      let working = true;
      const works = (does: boolean) => {
        this.#working += Number(does) - Number(working);
        working = does;
        this.#watch();
      };
      const release = once(() => {
        works(false);
        this.#free.push(lane);
        this.#free.sort((a, b) => a - b);
        this.#pagesTaken -= pages;
        if (alone) this.#alone = false;
        this.#admit();
      });
      next.admit({ lane, works, release });
    }
  }
}

function once(run: () => void): () => void {
  let done = false;
  return () => {
    if (!done) run();
    done = true;
  };
}
