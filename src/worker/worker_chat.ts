/** A conversation that a worker holds. */

import type { ChatMessage, LeftOut, Transcript } from "../types.ts";
import type { Remote } from "./remote.ts";
import { type GenerationFacts, WorkerGeneration } from "./worker_generation.ts";
import { type SentOptions, sentOptions, type WorkerGenerateOptions } from "./worker_options.ts";

/** What is known of a chat. */
export interface ChatFacts {
  messages: readonly ChatMessage[];
  leftOut: LeftOut;
}

export class WorkerChat {
  readonly #remote: Remote;
  readonly #handle: number;
  #facts: ChatFacts;
  readonly #made: Promise<ChatFacts>;
  /** Ends turns; each is given it. */
  readonly #signal: AbortSignal | undefined;

  /** @internal Use `model.chat`. @param made the worker's answer to the call that makes it */
  constructor(
    remote: Remote,
    handle: number,
    made: Promise<ChatFacts>,
    facts: ChatFacts,
    signal: AbortSignal | undefined,
  ) {
    this.#signal = signal;
    this.#remote = remote;
    this.#handle = handle;
    this.#facts = facts;
    this.#made = made.then((told) => {
      this.#facts = told;
      return told;
    });
    this.#made.catch(() => {}); // its turns tell
    remote.releaseWith(this, handle);
  }

  /** The messages so far, the model's answers among them. A turn's are there once it has ended. */
  get messages(): readonly ChatMessage[] {
    return this.#facts.messages;
  }

  /** What the last prompt had to leave out. */
  get leftOut(): Readonly<LeftOut> {
    return this.#facts.leftOut;
  }

  /** As `Chat.send`; what that throws, iterating throws. */
  send(message: string | ChatMessage, options: WorkerGenerateOptions = {}): WorkerGeneration {
    return this.#turn("send", [message], options);
  }

  /** As `Chat.edit`; what that throws, iterating throws. */
  edit(index: number, message: string | ChatMessage, options: WorkerGenerateOptions = {}): WorkerGeneration {
    return this.#turn("edit", [index, message], options);
  }

  /** As `Chat.regenerate`; what that throws, iterating throws. */
  regenerate(options: WorkerGenerateOptions = {}): WorkerGeneration {
    return this.#turn("regenerate", [], options);
  }

  /** The same conversation so far, to go on another way. */
  branch(): WorkerChat {
    const handle = this.#remote.newHandle();
    const made = this.#made.then(() => this.#remote.create(handle, this.#handle, "branch") as Promise<ChatFacts>);
    return new WorkerChat(this.#remote, handle, made, this.#facts, this.#signal);
  }

  /** As `Chat.transcript`. */
  async transcript(): Promise<Transcript> {
    await this.#made;
    return (await this.#remote.call(this.#handle, "transcript")) as Transcript;
  }

  #turn(method: string, args: unknown[], options: WorkerGenerateOptions): WorkerGeneration {
    const handle = this.#remote.newHandle();
    const signal = this.#signal && { signal: this.#signal };
    const sent: SentOptions = sentOptions({ ...signal, ...options });
    const made = this.#made.then(
      () => this.#remote.create(handle, this.#handle, method, ...args, sent) as Promise<GenerationFacts>,
    );
    return new WorkerGeneration(this.#remote, handle, made, async () => {
      this.#facts = (await this.#remote.call(this.#handle, "facts")) as ChatFacts;
    });
  }
}
