/**
 * The rounds that texts ask for, on their way to the GPU: those that can share a pass are packed into one, so that the weights are
 * read once for all of them (continuous batching; EMS-SD, Ni et al. 2024, for rounds of unlike lengths).
 *
 * First come, first served: each submission begins with the round that has waited longest, and takes along what joins it. While several
 * texts are generated at most two submissions are under way, so that the next one is packed when all have been heard of.
 */

import { ROW_CAPACITY } from "../kernels/constants.ts";
import type { PendingRound } from "./pending_round.ts";
import { draftsOf } from "./plan.ts";
import type { RoundRequest, Scheduler } from "./scheduler.ts";

const SUBMISSIONS_UNDER_WAY = 2;

/** A round that has been asked for. */
export interface AskedRound {
  /** The round, once it is submitted. */
  readonly submitted: Promise<PendingRound>;
  /** Takes it back, unless it has been. @returns whether it will not be submitted */
  readonly withdraw: () => boolean;
}

interface Waiting {
  readonly request: RoundRequest;
  readonly resolve: (round: PendingRound) => void;
  readonly reject: (error: unknown) => void;
}

export class RoundQueue {
  readonly #scheduler: Scheduler;
  readonly #waiting: Waiting[] = [];
  readonly #lanes = new Set<number>();
  #underWay = 0;
  #pumping = false;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  /** Texts that are generated. */
  get texts(): number {
    return this.#lanes.size;
  }

  /** A text will ask for rounds, until it is told that it asks for no more. */
  join(lane: number): () => void {
    this.#lanes.add(lane);
    return () => void this.#lanes.delete(lane);
  }

  /** Asks for a round. */
  ask(request: RoundRequest): AskedRound {
    const submitted = new Promise<PendingRound>((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject });
      void this.#pump();
    });
    submitted.catch(() => {}); // told to whoever waits for it, which may be nobody
    const withdraw = () => {
      const place = this.#waiting.findIndex((waiting) => waiting.request === request);
      if (place >= 0) this.#waiting.splice(place, 1);
      return place >= 0;
    };
    return { submitted, withdraw };
  }

  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#waiting.length > 0) {
        if (this.#lanes.size > 1) {
          if (this.#underWay >= SUBMISSIONS_UNDER_WAY) return; // taken up when one is heard of
          await nextTask(); // what has been heard of together asks together
        }
        await this.#submit(this.#next());
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** The round that has waited longest, and those that join it. */
  #next(): Waiting[] {
    const [first, ...others] = this.#waiting;
    if (!first) return [];
    const batch = [first];
    let rows = rowsOf(first);
    for (const other of others) {
      if (!batch.every((each) => this.#scheduler.joins(each.request, other.request))) continue;
      if (rows + rowsOf(other) > ROW_CAPACITY) break;
      batch.push(other);
      rows += rowsOf(other);
    }
    for (const each of batch) this.#waiting.splice(this.#waiting.indexOf(each), 1);
    return batch;
  }

  async #submit(batch: readonly Waiting[]): Promise<void> {
    try {
      this.#underWay++;
      const rounds = await this.#scheduler.rounds(batch.map(({ request }) => request));
      const heard = () => {
        this.#underWay--;
        void this.#pump();
      };
      rounds[0]!.report.then(heard, heard);
      // Times are a round's own only where nothing else was computed meanwhile.
      const texts = this.#lanes.size;
      for (const [i, { resolve }] of batch.entries()) resolve({ ...rounds[i]!, texts });
    } catch (error) {
      this.#underWay--;
      for (const { reject } of batch) reject(error);
    }
  }
}

function rowsOf({ request: { plan } }: Waiting): number {
  return 1 + draftsOf(plan);
}

/** Whatever has happened by now is dealt with. */
function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
