/** The drafters in the page's words, and which settings each of them has. */

import type { DrafterName, Model } from "../src/index.ts";

export interface DrafterWords {
  name: string;
  hint: string;
  /** Layers draft: how many is to be chosen (`exit`), or an adapter says so (`adapter`), and how long their drafts are. */
  layers?: "exit" | "adapter";
  /** Makes trees: of this size where nobody says another, and what the size counts. */
  tree?: { size: number; hint: string };
}

export const DRAFTERS: Readonly<Record<DrafterName, DrafterWords>> = {
  auto: {
    name: "Auto",
    hint: "Chooses for each round what to draft, or to draft nothing, by the times it measures.",
  },
  layerskip: {
    name: "LayerSkip",
    hint: "The first layers draft tokens one after the other, and the rest check them in one pass.",
    layers: "exit",
  },
  adapter: {
    name: "Exit adapter",
    hint: "The first layers draft, and a small part that was fitted to this model makes their guess better.",
    layers: "adapter",
  },
  ouroboros: {
    name: "Ouroboros",
    hint: "The first layers draft, and behind their last draft a tree of what lately followed is tried, too.",
    layers: "exit",
    tree: { size: 3, hint: "Tokens tried behind the last draft." },
  },
  lookup: {
    name: "Lookup",
    hint: "No layers draft: where the text's last tokens stood before, what followed them then is tried again.",
    tree: { size: 7, hint: "Tokens tried in a round, at most." },
  },
  recycle: {
    name: "Recycling",
    hint: "No layers draft: what the model lately held likely after each token is tried, as a tree.",
    tree: { size: 15, hint: "Tokens tried in a round, at most." },
  },
  none: { name: "Plain", hint: "All layers run for every token, and nothing is drafted." },
};

/** What a drafter does, with this model. */
export function drafterHint(model: Model, drafter: DrafterName): string {
  const { hint, layers } = DRAFTERS[drafter];
  if (model.spec.layerSkip) return hint;
  if (drafter === "auto" && !autoDrafts(model)) {
    return "This model was not trained to draft for itself, so Auto decodes plainly.";
  }
  return layers === "exit" ? `${hint} This model was not trained for that.` : hint;
}

/** Whether Auto is more than plain decoding. */
export function autoDrafts({ defaults }: Model): boolean {
  return defaults.drafter === "auto";
}
