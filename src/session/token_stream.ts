/** From ids to the parts of a stream: text that is safe to show, how each token came, and whether a stop string ended it. */

import type { DecodedRound } from "../decode/decoding.ts";
import type { RoundReport } from "../decode/round_report.ts";
import { StopStrings } from "../text/stop_strings.ts";
import { StreamingDecoder } from "../text/streaming_decoder.ts";
import type { TextTokenizer } from "../text/tokenizer.ts";
import type { GenerationPart, Token, TokenOrigin } from "../types.ts";

export interface StreamedPart extends GenerationPart {
  /** A stop string was completed by its last token; what came behind it is left out. */
  stopped: boolean;
}

export class TokenStream {
  readonly #tokenizer: TextTokenizer;
  readonly #decoder: StreamingDecoder;
  readonly #stops: StopStrings;

  /**
   * @param before ids that the text continues
   * @param stop texts that end it
   */
  constructor(tokenizer: TextTokenizer, before: readonly number[], stop: readonly string[]) {
    this.#tokenizer = tokenizer;
    this.#decoder = new StreamingDecoder(tokenizer, before);
    this.#stops = new StopStrings(stop);
  }

  /** @param last no other follows: what was held back comes out */
  part({ report }: DecodedRound, last: boolean): StreamedPart {
    const tokens: Token[] = [];
    let stopped = false;
    for (const [i, id] of report.ids.entries()) {
      const ends = last && i === report.ids.length - 1;
      const piece = this.#stops.push(this.#decoder.push(id) + (ends ? this.#decoder.flush() : ""));
      stopped = piece.stopped;
      const text = piece.text + (ends && !stopped ? this.#stops.flush() : "");
      tokens.push({ id, text, origin: originOf(report, i), ...this.#logProbs(report, i) });
      if (stopped) break;
    }
    return {
      text: tokens.map((token) => token.text).join(""),
      ids: tokens.map(({ id }) => id),
      tokens,
      draftIds: report.draftIds,
      draftParents: report.draftParents.map((row) => row - 1),
      stopped,
    };
  }

  #logProbs({ logProbs }: RoundReport, index: number): Pick<Token, "logProb" | "topLogProbs"> {
    const row = logProbs?.[index];
    if (!row) return {};
    const topLogProbs = row.top.map(({ id, logProb }) => ({ id, text: this.#textOf(id), logProb }));
    return { logProb: row.logProb, ...(topLogProbs.length > 0 && { topLogProbs }) };
  }

  /** An id's text where it stands behind another: on its own a word would lose its space. */
  #textOf(id: number): string {
    const before = this.#tokenizer.decode([id]);
    const twice = this.#tokenizer.decode([id, id]);
    return twice.startsWith(before) ? twice.slice(before.length) : before;
  }
}

/** A token of the full model's own is a correction where drafts were refused in its place. */
function originOf({ drafted, accepted, path, draftParents }: RoundReport, index: number): TokenOrigin {
  if (drafted === 0) return "plain";
  if (index < accepted) return "accepted";
  return draftParents.includes(path[index]!) ? "correction" : "bonus";
}
