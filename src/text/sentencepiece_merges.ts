/**
 * The merges of SentencePiece's BPE, from the scores of its pieces.
 *
 * SentencePiece has no merges: of all pairs of neighbours it joins the one that makes the piece with the highest score. BPE
 * as `tokenizer.json` has it wants pairs in order, so every way to cut a piece in two becomes a merge with the piece's rank.
 * The order of ties is that of transformers (`generate_merges`, convert_slow_tokenizer.py): longer left parts first.
 */

/** A piece that can be made by joining two others. */
export interface Piece {
  text: string;
  score: number;
}

interface Merge {
  pair: [left: string, right: string];
  score: number;
  /** Lengths in characters. */
  left: number;
  right: number;
}

/** Pairs to merge, the most urgent first. A part is a piece or a single character. */
export function mergesOf(pieces: readonly Piece[]): [left: string, right: string][] {
  const known = new Set(pieces.map(({ text }) => text));
  const merges: Merge[] = [];
  for (const { text, score } of pieces) {
    const characters = [...text];
    const last = characters.length - 1;
    let cut = 0;
    for (let left = 1; left <= last; left++) {
      cut += characters[left - 1]!.length;
      const pair: [string, string] = [text.slice(0, cut), text.slice(cut)];
      const right = characters.length - left;
      // A character that is no piece takes part as well: it may stand for bytes in the end.
      if (left > 1 && !known.has(pair[0])) continue;
      if (right > 1 && !known.has(pair[1])) continue;
      merges.push({ pair, score, left, right });
    }
  }
  // Equal ones keep the order of their ids: sorting is stable.
  merges.sort((a, b) => b.score - a.score || b.left - a.left || b.right - a.right);
  return merges.map(({ pair }) => pair);
}
