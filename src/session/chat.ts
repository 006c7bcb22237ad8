/**
 * A conversation: messages, and the answers that the model gives to them.
 *
 * What a turn has in common with what is in the KV cache is not computed again, whatever changed: a message was edited, an answer
 * is generated once more, the conversation went another way (kept_texts.ts). Ids are those of the same transcript without a
 * cache.
 */

import { BusyError, ContextLengthError, InputError } from "../errors.ts";
import type {
  ChatMessage,
  ChatOptions,
  ChatSettings,
  GenerateOptions,
  GenerationResult,
  LeftOut,
  OverflowPolicy,
  Transcript,
} from "../types.ts";
import { type ChatText, transcribe } from "./chat_transcript.ts";
import type { Generation } from "./generation.ts";
import { requireChoice, requireInteger } from "./options.ts";
import { without } from "./transcript.ts";

/** What a chat works with. @internal */
export interface ChatContext {
  text: (options: ChatOptions) => ChatText;
  contextLength: number;
  eosTokenIds: readonly number[];
  /** @param turn told when the generation begins and how it ends */
  generate: (prompt: Transcript, options: GenerateOptions, turn: Turn) => Generation;
}

/** A turn of a chat, as its generation knows it. @internal */
export interface Turn {
  /** @throws what keeps it from beginning */
  begins: () => void;
  /** @param result undefined where it failed */
  ends: (result: GenerationResult | undefined) => void;
}

const WHERE = "chat";
const POLICIES: readonly OverflowPolicy[] = ["error", "drop-oldest", "slide"];
/** The part of the context that is kept free for an answer of unknown length. */
const ANSWER_SHARE = 0.25;
/** What of the room a conversation takes at most once it has overflowed: what is cut away is computed anew behind the cut, so it is rare. */
const KEPT_SHARE = 0.75;

export class Chat {
  readonly #context: ChatContext;
  readonly #text: ChatText;
  readonly #template: ChatOptions;
  readonly #overflow: OverflowPolicy;
  readonly #options: GenerateOptions;
  #messages: ChatMessage[];
  /** The ids of the messages that the model generated. */
  readonly #answers = new Map<ChatMessage, readonly number[]>();
  /** What is left out of prompts so far: of messages behind the system's, and of tokens. */
  #leftOut: LeftOut = { messages: 0, tokens: 0 };
  #answering = false;
  /** Turns that have changed the messages: a generation made before is of another conversation. */
  #version = 0;

  /** @internal Use `model.chat`. */
  constructor(context: ChatContext, settings: ChatSettings = {}) {
    const { system, messages = [], overflow = "error", tools, documents, template, variables, ...options } = settings;
    const given = { tools, documents, template, variables };
    this.#context = context;
    this.#template = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
    this.#text = context.text(this.#template);
    this.#overflow = requireChoice(WHERE, "overflow", overflow, POLICIES);
    this.#options = options;
    this.#messages = [...(system === undefined ? [] : [{ role: "system", content: system }]), ...messages];
  }

  /** The messages so far, the model's answers among them. A turn's are there once it has ended. */
  get messages(): readonly ChatMessage[] {
    return [...this.#messages];
  }

  /** What the last prompt had to leave out (`overflow`). The messages are all still here. */
  get leftOut(): Readonly<LeftOut> {
    return this.#leftOut;
  }

  /**
   * A message, and the model's answer to it. Both are among the `messages` once the answer has ended, also where it was aborted
   * behind its first token; where it fails, neither is.
   * @param message a text of the user's, or a message of any role
   * @param options beside those of the chat, and before them
   * @throws as `generate` does; InputError where the template refuses the message
   *
   * Iterating it throws BusyError while another turn runs, and InputError where the conversation has gone on since it was made.
   */
  send(message: string | ChatMessage, options: GenerateOptions = {}): Generation {
    return this.#answer([...this.#messages, asMessage(message)], options);
  }

  /**
   * Another message in the place of one, and the answer to it. What followed is gone once it has ended.
   * @param index of a message, not one of the model's
   * @throws InputError where there is no such message; as `send` does
   */
  edit(index: number, message: string | ChatMessage, options: GenerateOptions = {}): Generation {
    requireInteger(WHERE, "index", index, 0, Math.max(0, this.#messages.length - 1));
    const before = this.#messages[index];
    if (!before || before.role === "assistant" || before.role === "system") {
      const found = before ? `a message of the role ${before.role}` : "no message";
      throw new InputError({ file: WHERE, field: `messages[${index}]`, found, expected: "a message that is answered" });
    }
    const edited = typeof message === "string" ? { ...before, content: message } : message;
    return this.#answer([...this.#messages.slice(0, index), edited], options);
  }

  /**
   * Another answer to the last message, in the place of the one that there is. Where nothing is sampled, or with the seed of that one,
   * it is the same.
   * @throws InputError where there is nothing to answer; as `send` does
   */
  regenerate(options: GenerateOptions = {}): Generation {
    const end = this.#messages.findLastIndex(({ role }) => role !== "assistant") + 1;
    if (end === 0 || this.#messages[end - 1]!.role === "system") {
      const found = `${this.#messages.length} messages`;
      throw new InputError({ file: WHERE, field: "messages", found, expected: "a message to answer" });
    }
    // With what the turn that it takes the place of left out.
    return this.#answer(this.#messages.slice(0, end), options, this.#leftOut);
  }

  /** The same conversation so far, to go on another way. Both share what they have in common in the cache. */
  branch(): Chat {
    const chat = new Chat(this.#context, { ...this.#template, ...this.#options, overflow: this.#overflow });
    chat.#messages = [...this.#messages];
    for (const [message, ids] of this.#answers) chat.#answers.set(message, ids);
    chat.#leftOut = this.#leftOut;
    return chat;
  }

  /**
   * The ids of the conversation with what begins the next answer, and which of them were generated: `generate` gives with it, and without a
   * cache, the same answer as a turn of this chat that is sent nothing.
   * @throws InputError where the template refuses the messages
   */
  transcript(): Transcript {
    return transcribe(this.#text, this.#messages, this.#answers);
  }

  /** @param before what is left out at least; by default as much as before where the conversation goes on, else nothing */
  #answer(messages: ChatMessage[], overrides: GenerateOptions, before?: LeftOut): Generation {
    const options = { ...this.#options, ...overrides };
    const goesOn = this.#messages.every((message, i) => messages[i] === message);
    const leftBefore = before ?? (goesOn ? this.#leftOut : { messages: 0, tokens: 0 });
    const { prompt, leftOut } = this.#fitting(messages, options, leftBefore);
    const version = this.#version;
    return this.#context.generate(prompt, options, {
      begins: () => {
        if (this.#answering) throw new BusyError();
        if (this.#version !== version) {
          const [found, expected] = ["a turn that was made before another one", "a turn of the conversation as it is"];
          throw new InputError({ file: WHERE, field: "messages", found, expected });
        }
        this.#answering = true;
      },
      ends: (result) => {
        this.#answering = false;
        if (!result || result.ids.length === 0) return;
        this.#version++;
        const answer = { role: "assistant", content: result.text };
        this.#messages = [...messages, answer];
        this.#leftOut = leftOut;
        this.#answers.set(answer, withoutEos(result.ids, this.#context.eosTokenIds));
        const there = new Set(this.#messages);
        for (const message of this.#answers.keys()) if (!there.has(message)) this.#answers.delete(message);
      },
    });
  }

  /** The prompt of a turn, with what the policy leaves out of it. */
  #fitting(
    messages: readonly ChatMessage[],
    { maxTokens }: GenerateOptions,
    before: LeftOut,
  ): { prompt: Transcript; leftOut: LeftOut } {
    const { contextLength } = this.#context;
    const room = contextLength - Math.min(maxTokens ?? Math.ceil(contextLength * ANSWER_SHARE), contextLength - 1);
    switch (this.#overflow) {
      case "error":
        return { prompt: transcribe(this.#text, messages, this.#answers), leftOut: before };
      case "drop-oldest":
        return this.#dropping(messages, before.messages, room);
      case "slide":
        return this.#sliding(messages, before.tokens, room);
    }
  }

  /** Without the oldest turns behind the system's messages. The last message is always there. */
  #dropping(messages: readonly ChatMessage[], droppedBefore: number, room: number) {
    const head = headOf(messages);
    const turns = messages.slice(head);
    const begins = turns.flatMap(({ role }, i) => (i > 0 && role === "user" ? [i] : []));
    const from = (dropped: number) =>
      transcribe(this.#text, [...messages.slice(0, head), ...turns.slice(dropped)], this.#answers);
    let dropped = droppedBefore;
    let prompt = from(dropped);
    if (prompt.ids.length > room) {
      for (const begin of begins) {
        if (begin <= dropped) continue;
        dropped = begin;
        prompt = from(dropped);
        if (prompt.ids.length <= room * KEPT_SHARE) break;
      }
    }
    return { prompt, leftOut: { messages: dropped, tokens: 0 } };
  }

  /** Without the oldest tokens behind the system's messages. */
  #sliding(messages: readonly ChatMessage[], slidBefore: number, room: number) {
    const whole = transcribe(this.#text, messages, this.#answers);
    const head = this.#headTokens(messages, whole);
    let slid = Math.min(slidBefore, whole.ids.length - head - 1);
    if (whole.ids.length - slid > room) slid = whole.ids.length - Math.max(head + 1, Math.floor(room * KEPT_SHARE));
    if (slid <= 0) return { prompt: whole, leftOut: { messages: 0, tokens: 0 } };
    if (whole.ids.length - slid >= this.#context.contextLength) {
      throw new ContextLengthError(whole.ids.length - slid, this.#context.contextLength);
    }
    return { prompt: without(whole, head, head + slid), leftOut: { messages: 0, tokens: slid } };
  }

  /** Tokens that the system's messages take: as far as the conversation begins as one with other messages would. */
  #headTokens(messages: readonly ChatMessage[], { ids }: Transcript): number {
    const other = transcribe(this.#text, [...messages.slice(0, headOf(messages)), OTHER], this.#answers);
    let common = 0;
    while (common < other.ids.length && common < ids.length && other.ids[common] === ids[common]) common++;
    return common;
  }
}

/** A message that no other begins like. */
const OTHER: ChatMessage = { role: "user", content: "\u{1f300}" };

/** Messages of the system's that a conversation begins with. */
function headOf(messages: readonly ChatMessage[]): number {
  const first = messages.findIndex(({ role }) => role !== "system");
  return first < 0 ? messages.length : first;
}

function asMessage(message: string | ChatMessage): ChatMessage {
  return typeof message === "string" ? { role: "user", content: message } : message;
}

/** An answer's ids without the EOS that ended it: the template has one of its own. */
function withoutEos(ids: readonly number[], eosTokenIds: readonly number[]): number[] {
  let end = ids.length;
  while (end > 0 && eosTokenIds.includes(ids[end - 1]!)) end--;
  return ids.slice(0, end);
}
