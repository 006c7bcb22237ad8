/**
 * A round's drafts drawn as the tree they are, from left to right. What became text stands in the first line, with the full
 * model's own token behind it; what was refused hangs below.
 */

import { acceptedPath, continuing, TEXT } from "./draft_tree.ts";
import { element } from "./elements.ts";
import { type RoundRecord, visible } from "./round_text.ts";

/** What its drafts would have added, and the word that they continue. */
export interface TreeTexts {
  drafts: readonly string[];
  before: string;
}

export function treeView(record: RoundRecord, texts: TreeTexts): HTMLElement {
  const { draftParents, round, own } = record;
  const path = acceptedPath(record, draftParents, round.accepted);
  const end = path.at(-1) ?? TEXT;

  const branches = (parent: number): HTMLElement[] => {
    const drafts = continuing(draftParents, parent);
    const accepted = drafts.filter((draft) => path.includes(draft));
    const refused = drafts.filter((draft) => !path.includes(draft));
    const items = [...accepted.map(draftItem), ...(parent === end ? ownItem() : []), ...refused.map(draftItem)];
    if (items.length === 0) return [];
    const list = element("ul");
    list.append(...items);
    return [list];
  };
  const draftItem = (draft: number): HTMLElement => {
    const accepted = path.includes(draft);
    const item = element("li", `branch branch--${accepted ? "accepted" : "refused"}`);
    const parent = draftParents[draft] ?? TEXT;
    Object.assign(item.dataset, { draft, parent });
    const chip = element(accepted ? "span" : "s", `chip chip--${accepted ? "accepted" : "rejected"}`);
    chip.textContent = visible(texts.drafts[draft] ?? "");
    chip.title = `draft ${draft + 1} ${parent === TEXT ? "continues the text" : `continues draft ${parent + 1}`}`;
    item.append(chip, ...branches(draft));
    return item;
  };
  const ownItem = (): HTMLElement[] => {
    if (!own) return [];
    const item = element("li", `branch branch--${own.origin}`);
    item.append(element("span", `chip chip--${own.origin}`, visible(own.text)));
    return [item];
  };

  const root = element("span", "tree__text", texts.before === "" ? "…" : `… ${visible(texts.before)}`);
  root.title = "the text before this round";
  const tree = element("div", "tree");
  tree.append(root, ...branches(TEXT));
  return tree;
}
