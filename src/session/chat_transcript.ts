/**
 * From messages to the transcript of a conversation: what the model answered stands in it as the ids that it generated.
 *
 * The text of an answer, tokenized again, may be other ids; then nothing behind it would be found in the cache. So the template's
 * text is cut where the answers stand in it, what is between them is tokenized, and the answers' own ids come in their places.
 */

import { LayerLeapError } from "../errors.ts";
import type { ChatMessage, Transcript } from "../types.ts";
import type { RangeOf } from "./transcript.ts";

/** What turns messages into ids. */
export interface ChatText {
  /** The template's text, which ends with what begins an answer. */
  render: (messages: readonly ChatMessage[]) => string;
  encode: (text: string) => number[];
  /** Special tokens are left out. */
  decode: (ids: readonly number[]) => string;
}

/**
 * @param answers the ids of messages that the model generated, without the EOS that ended them
 * @returns ids that end with what begins the next answer
 * @throws what rendering throws
 */
export function transcribe(
  { render, encode, decode }: ChatText,
  messages: readonly ChatMessage[],
  answers: ReadonlyMap<ChatMessage, readonly number[]>,
): Transcript {
  const text = render(messages);
  const ids: number[] = [];
  const generated: RangeOf[] = [];
  let at = 0;
  for (const [i, message] of messages.entries()) {
    const answer = answers.get(message);
    const begin = answer && beginningOf(render, messages.slice(0, i));
    if (!answer || begin === undefined || begin.length < at || !text.startsWith(begin)) continue;
    const end = endOfAnswer(text, begin.length, message.content);
    if (end === undefined || decode(answer).trim() !== message.content.trim()) continue;
    ids.push(...encode(text.slice(at, begin.length)));
    generated.push([ids.length, ids.length + answer.length]);
    ids.push(...answer);
    at = end;
    // Some tokenizers put a space before each piece of text that they are given: a special token has to come first then.
    const [next] = encode(text.slice(at));
    if (next !== undefined && decode([next]) !== "" && !joins({ encode, decode }))
      return { ids: encode(text), generated: [] };
  }
  ids.push(...encode(text.slice(at)));
  return { ids, generated };
}

/** Where an answer ends that begins at `begin`, or a space behind it; undefined where the template made something else of it. */
function endOfAnswer(text: string, begin: number, content: string): number | undefined {
  return [content, ` ${content}`].find((said) => text.startsWith(said, begin)) !== undefined
    ? text.indexOf(content, begin) + content.length
    : undefined;
}

/** Whether two pieces of text, tokenized one by one, are the text that they are together. */
function joins({ encode, decode }: Pick<ChatText, "encode" | "decode">): boolean {
  const piece = encode("x");
  return decode([...piece, ...piece]) === "xx";
}

/** What a template makes of the messages before an answer; undefined where it refuses them, such as none at all. */
function beginningOf(render: ChatText["render"], messages: readonly ChatMessage[]): string | undefined {
  try {
    return render(messages);
  } catch (error) {
    if (error instanceof LayerLeapError) return undefined;
    throw error;
  }
}
