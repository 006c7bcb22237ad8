/** What is written to the model: a text that it continues, or a message that it answers. */

import { type ChatMessage, LayerLeapError, type Model } from "../src/index.ts";
import { byId } from "./elements.ts";
import { counted } from "./format.ts";

export interface PromptInput {
  /** What was written. */
  text: string;
  /** What the model is given. */
  prompt: string | readonly ChatMessage[];
}

type Mode = "text" | "chat";

/** What is there before anybody has written. */
const OPENINGS: Record<Mode, string> = { text: "Once upon a time", chat: "Why is the sky blue?" };

export class PromptField {
  readonly #text = byId("prompt", HTMLTextAreaElement);
  readonly #label = byId("prompt-label", HTMLElement);
  readonly #tokens = byId("prompt-tokens", HTMLElement);
  readonly #modes = byId("modes", HTMLElement);
  readonly #chat = byId("mode-chat", HTMLInputElement);
  readonly #continue = byId("mode-text", HTMLInputElement);
  readonly #system = byId("system", HTMLTextAreaElement);
  readonly #systemField = byId("system-field", HTMLElement);

  /** Chats with a model that can. */
  fit({ chats }: Model): void {
    this.#modes.hidden = !chats;
    this.#chat.checked = chats;
    this.#continue.checked = !chats;
  }

  read(): PromptInput {
    const text = this.#text.value;
    if (this.#mode === "text") return { text, prompt: text };
    const system = this.#system.value.trim();
    const messages = [{ role: "user", content: text }];
    return { text, prompt: system === "" ? messages : [{ role: "system", content: system }, ...messages] };
  }

  /** What follows from the mode and the text. */
  show(model: Model): void {
    const mode = this.#mode;
    const other = mode === "chat" ? "text" : "chat";
    if (this.#text.value === OPENINGS[other]) this.#text.value = OPENINGS[mode];
    this.#label.textContent = mode === "chat" ? "Message" : "Prompt";
    this.#systemField.hidden = mode === "text";
    this.#tokens.textContent = this.#count(model);
  }

  get #mode(): Mode {
    return this.#chat.checked ? "chat" : "text";
  }

  #count(model: Model): string {
    try {
      return counted(promptIds(model, this.read().prompt).length, "token");
    } catch (error) {
      // Templates refuse some messages; whoever generates is told.
      if (error instanceof LayerLeapError) return "";
      throw error;
    }
  }
}

/** The ids that a model reads. */
export function promptIds(model: Model, prompt: PromptInput["prompt"]): number[] {
  return typeof prompt === "string" ? model.tokenize(prompt) : model.chatIds(prompt);
}
