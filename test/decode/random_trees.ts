/** A drafter of random trees, for tests. */

import type { DraftContext, DraftNode, DraftOutcome, HostDrafter } from "../../src/decode/drafters/host_drafter.ts";
import type { Random } from "../reference/random.ts";

/** Knows the text, and proposes it among other branches: trees of random shapes whose right path is long, short or absent. */
export class RandomTrees implements HostDrafter {
  readonly name = "random trees";
  readonly treeSize: number;
  readonly outcomes: DraftOutcome[] = [];
  readonly #random: Random;
  readonly #text: readonly number[];

  constructor(random: Random, text: readonly number[], treeSizes: readonly [number, ...number[]]) {
    this.#random = random;
    this.#text = text;
    this.treeSize = random.pick(treeSizes);
  }

  propose({ ids, treeSize, vocabSize }: DraftContext): DraftNode[] {
    const random = this.#random;
    const count = random.int(0, random.pick([2, treeSize, treeSize, 80]));
    const deep = random.pick([0.2, 0.7, 1]);
    /** How many of the text's next ids end at each node; undefined: another text. */
    const known: (number | undefined)[] = [];
    return Array.from({ length: count }, (_, i) => {
      const parent = random.uniform() < deep ? i - 1 : random.int(-1, i - 1);
      const before = parent < 0 ? 0 : known[parent];
      const next = before === undefined ? undefined : this.#text[ids.length + before];
      const isNext = next !== undefined && random.uniform() < 0.75;
      known.push(isNext && before !== undefined ? before + 1 : undefined);
      return { id: isNext ? next : random.int(0, vocabSize - 1), parent };
    });
  }

  observe(outcome: DraftOutcome): void {
    this.outcomes.push(outcome);
  }
}
