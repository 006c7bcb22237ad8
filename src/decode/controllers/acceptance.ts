/**
 * How often a draft of each exit layer is accepted in this text: a prior, moved by what all exits have seen, then by what
 * the exit itself has. Ours: one easy or hard text moves the odds of all exits together, so that one exit's failures warn
 * of the others too.
 */

/** Acceptance a draft, before a text: of the shallowest candidate, or of each exit layer. */
export type AcceptancePrior = number | Readonly<Record<number, number>>;

/** What a draft counts against the next of its exit: about 200 drafts are remembered. */
const DISCOUNT = 0.995;
/** Drafts that the prior is worth against those of all exits, and against those of one. */
const TEXT_PRIOR = 16;
const EXIT_PRIOR = 20;

interface Drafts {
  accepted: number;
  refused: number;
}

export class Acceptance {
  readonly #exits = new Map<number, { prior: number; drafts: Drafts }>();

  /** @param exits candidate exit layers, ascending */
  constructor(layers: number, exits: readonly number[], prior: AcceptancePrior) {
    for (const exit of exits) {
      const given = typeof prior === "number" ? undefined : prior[exit];
      const shallowest = typeof prior === "number" ? prior : DEFAULT_ACCEPTANCE;
      // An exit after the last layer would always agree: what is refused shrinks with the layers left.
      const refused = ((1 - shallowest) * (layers - exit)) / (layers - exits[0]!);
      const mean = Math.max(0.02, Math.min(0.98, given ?? 1 - refused));
      this.#exits.set(exit, { prior: mean, drafts: { accepted: 0, refused: 0 } });
    }
  }

  /** Takes a round's drafts: those behind the first refused one tell nothing. An exit that is no candidate is left out. */
  observe(exit: number, { drafted, accepted }: { drafted: number; accepted: number }): void {
    const kept = DISCOUNT ** (accepted + 1);
    for (const { drafts } of this.#exits.values()) {
      drafts.accepted *= kept;
      drafts.refused *= kept;
    }
    const drafts = this.#exits.get(exit)?.drafts;
    if (!drafts) return;
    drafts.accepted += accepted;
    if (accepted < drafted) drafts.refused += 1;
  }

  /** Mean of an exit's acceptance, and how far above it may well be: `deviations` standard deviations. */
  of(exit: number, deviations = 0): number {
    const { prior, drafts } = this.#exits.get(exit)!;
    const odds = (prior / (1 - prior)) * this.#oddsOfText();
    const moved = odds / (1 + odds);
    const count = EXIT_PRIOR + drafts.accepted + drafts.refused;
    const mean = (EXIT_PRIOR * moved + drafts.accepted) / count;
    return Math.min(0.98, mean + deviations * Math.sqrt((mean * (1 - mean)) / (count + 1)));
  }

  /** How much larger the odds of acceptance are than the priors say. */
  #oddsOfText(): number {
    const seen = { accepted: TEXT_PRIOR, refused: TEXT_PRIOR };
    const expected = { accepted: TEXT_PRIOR, refused: TEXT_PRIOR };
    for (const { prior, drafts } of this.#exits.values()) {
      const count = drafts.accepted + drafts.refused;
      seen.accepted += drafts.accepted;
      seen.refused += drafts.refused;
      expected.accepted += prior * count;
      expected.refused += (1 - prior) * count;
    }
    return ((seen.accepted / expected.accepted) * expected.refused) / seen.refused;
  }
}

/** What a draft's acceptance is taken to be where nothing is known. */
export const DEFAULT_ACCEPTANCE = 0.6;
