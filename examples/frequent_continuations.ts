/**
 * A drafter that counts what has followed what: after each run of up to four ids, which id came how often. It proposes a tree
 * of the likeliest continuations, so that where a phrase has gone on in two ways, it guesses both. From each round it learns
 * how far to trust runs of each length: in a list the last id alone may tell what comes, in prose it takes three or four.
 *
 * It helps where a text is made of few phrases in changing order: lists, tables, logs, boilerplate, refrains. Prompt lookup
 * copies from at most four places; this one weighs all of them. What it has counted it keeps from text to text, so give one
 * object to many similar generations, and a new one to others: its tables grow with all that it has read.
 */
import type { DraftContext, Drafter, DraftNode, DraftOutcome } from "layerleap/research";

/** The longest run whose continuations are counted. */
const LONGEST = 4;

/** A node, how likely the path to it is, and the last ids of the text that it ends. */
interface Guess extends DraftNode {
  readonly chance: number;
  readonly run: readonly number[];
}

/** What has followed a run of `length` ids. */
interface Followers {
  readonly length: number;
  readonly counts: Map<number, number>;
  total: number;
}

export class FrequentContinuations implements Drafter {
  readonly name = "frequent continuations";
  readonly treeSize = 7;
  readonly #followers = new Map<string, Followers>();
  /** By a run's length: how likely it held what came, summed over so many times that it was known. */
  readonly #trust = Array.from({ length: LONGEST + 1 }, () => ({ right: 1, asked: 2 }));
  #text: number[] = [];

  propose({ ids, treeSize }: DraftContext): DraftNode[] {
    this.#read(ids);
    const tree: Guess[] = [];
    const open = this.#guesses(ids.slice(-LONGEST), -1, 1);
    while (tree.length < treeSize && open.length > 0) {
      const likeliest = open.reduce((best, guess) => (guess.chance > best.chance ? guess : best));
      open.splice(open.indexOf(likeliest), 1);
      tree.push(likeliest);
      open.push(...this.#guesses(likeliest.run, tree.length - 1, likeliest.chance));
    }
    return tree;
  }

  observe({ ids }: DraftOutcome): void {
    for (const [at, id] of ids.entries()) {
      for (const { length, counts, total } of this.#known([...this.#text.slice(-LONGEST), ...ids.slice(0, at)])) {
        this.#trust[length].right += (counts.get(id) ?? 0) / total;
        this.#trust[length].asked++;
      }
    }
  }

  /** Counts what the text has grown by; all of it where it is another text. */
  #read(ids: readonly number[]): void {
    const grown = this.#text.every((id, at) => ids[at] === id);
    for (let at = grown ? this.#text.length : 0; at < ids.length; at++) {
      for (let length = 0; length <= Math.min(LONGEST, at); length++) {
        const run = ids.slice(at - length, at).join();
        const followers = this.#followers.get(run) ?? { length, counts: new Map<number, number>(), total: 0 };
        followers.counts.set(ids[at], (followers.counts.get(ids[at]) ?? 0) + 1);
        followers.total++;
        this.#followers.set(run, followers);
      }
    }
    this.#text = [...ids];
  }

  /** What has followed the last ids of a text: the longest run first, that of no ids last. */
  #known(text: readonly number[]): Followers[] {
    const last = text.slice(-LONGEST);
    return [...last.keys(), last.length].flatMap((from) => this.#followers.get(last.slice(from).join()) ?? []);
  }

  /** What may continue a run: what its longest part leaves to chance is told by the shorter ones. */
  #guesses(run: readonly number[], parent: number, chance: number): Guess[] {
    const chances = new Map<number, number>();
    let left = chance;
    for (const { length, counts, total } of this.#known(run)) {
      const share = left * (this.#trust[length].right / this.#trust[length].asked);
      for (const [id, count] of counts) chances.set(id, (chances.get(id) ?? 0) + (share * count) / total);
      left -= share;
    }
    return [...chances].map(([id, chance]) => ({ id, parent, chance, run: [...run, id].slice(-LONGEST) }));
  }
}
