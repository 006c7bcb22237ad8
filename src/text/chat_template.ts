/**
 * A model's chat template: messages to the text that the model was trained on. Rendered by `@huggingface/jinja`, with what
 * transformers gives to templates (`render_jinja_template`, utils/chat_template_utils.py).
 */

import { Environment, Interpreter, Template } from "@huggingface/jinja";
import { FileFormatError, InputError } from "../errors.ts";
import { Fields, quote } from "../json.ts";
import type { ChatMessage, ChatOptions } from "../types.ts";
import { strftime } from "./strftime.ts";

/** The text of `chat_template.jinja`. */
export interface TemplateFile {
  /** Name for messages. */
  name: string;
  text: string;
}

/** Tokens that a template may name (transformers, `SPECIAL_TOKENS_ATTRIBUTES`). */
const SPECIAL_TOKENS = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/** The template that is used where none is named, and the one for messages with tools. */
const DEFAULT = "default";
const WITH_TOOLS = "tool_use";

const CHAT_TEMPLATE = "chat_template";

/** What a template throws on purpose, through `raise_exception`. */
class Refusal extends Error {}

export class ChatTemplate {
  readonly #file: string;
  /** Texts by name. */
  readonly #templates: ReadonlyMap<string, string>;
  readonly #specialTokens: Readonly<Record<string, string>>;
  /** Parsed when first rendered: a damaged one is in nobody's way who does not chat. */
  readonly #parsed = new Map<string, Template["parsed"]>();

  private constructor(file: string, templates: ReadonlyMap<string, string>, specialTokens: Record<string, string>) {
    this.#file = file;
    this.#templates = templates;
    this.#specialTokens = specialTokens;
  }

  /**
   * A model's template, undefined where it has none.
   * @param tokenizerConfig parsed `tokenizer_config.json`: the template may be there, and the special tokens are
   * @param file name of that file for messages
   * @param jinja `chat_template.jinja`, which comes before the other
   * @throws FileFormatError when a field is not of its type
   */
  static read(tokenizerConfig: unknown, file: string, jinja?: TemplateFile): ChatTemplate | undefined {
    const config = new Fields(tokenizerConfig, file);
    const templates = jinja ? new Map([[DEFAULT, jinja.text]]) : readTemplates(config);
    if (templates.size === 0) return undefined;
    return new ChatTemplate(jinja?.name ?? file, templates, readSpecialTokens(config));
  }

  /**
   * The text that the model continues with its answer.
   * @throws InputError when the messages are none, or the template refuses them; FileFormatError when the template is damaged
   */
  render(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
    checkMessages(messages);
    const { addGenerationPrompt = true, tools = null, documents = null, variables = {} } = options;
    const name = this.#choose(options.template, tools !== null);
    const globals = new Environment();
    const values = {
      ...{ true: true, false: false, none: null, True: true, False: false, None: null },
      ...{ range, raise_exception: refuse, strftime_now: (format: string) => strftime(new Date(), format) },
      ...this.#specialTokens,
      ...variables,
      ...{ messages, tools, documents, add_generation_prompt: addGenerationPrompt },
    };
    try {
      for (const [key, value] of Object.entries(values)) globals.set(key, value);
      return String(new Interpreter(globals).run(this.#parse(name)).value);
    } catch (cause) {
      if (cause instanceof FileFormatError) throw cause;
      if (!(cause instanceof Refusal)) throw this.#damaged(name, cause);
      const found = `ones that the model's template refuses: ${quote(cause.message)}`;
      throw new InputError({ file: "chat", field: "messages", found, expected: "ones that it takes" }, { cause });
    }
  }

  /** The name of the template for this call. */
  #choose(asked: string | undefined, tools: boolean): string {
    const names = [...this.#templates.keys()];
    const wanted = asked ?? (tools && this.#templates.has(WITH_TOOLS) ? WITH_TOOLS : DEFAULT);
    if (this.#templates.has(wanted)) return wanted;
    if (asked === undefined && names.length === 1) return names[0]!;
    const expected = `one of ${names.map(quote).join(", ")}`;
    throw new InputError({ file: "chat", field: "template", found: quote(asked), expected });
  }

  #parse(name: string): Template["parsed"] {
    let parsed = this.#parsed.get(name);
    if (!parsed) {
      parsed = new Template(this.#templates.get(name)!).parsed;
      this.#parsed.set(name, parsed);
    }
    return parsed;
  }

  #damaged(name: string, cause: unknown): FileFormatError {
    const field = this.#templates.size === 1 ? CHAT_TEMPLATE : `${CHAT_TEMPLATE}.${name}`;
    const found = `a template that fails: ${quote(cause instanceof Error ? cause.message : String(cause))}`;
    return new FileFormatError({ file: this.#file, field, found, expected: "a Jinja template" }, { cause });
  }
}

/** `chat_template`: one text, or several under names. */
function readTemplates(config: Fields): Map<string, string> {
  const value = config.get(CHAT_TEMPLATE);
  if (value === undefined) return new Map();
  if (!Array.isArray(value)) return new Map([[DEFAULT, config.string(CHAT_TEMPLATE)]]);
  return new Map(
    value.map((entry, index) => {
      const fields = new Fields(entry, config.file, config.name(`${CHAT_TEMPLATE}.${index}`));
      return [fields.string("name"), fields.string("template")];
    }),
  );
}

/** Texts of the special tokens, each given as such or as an object around it, and of the model's own further ones. */
function readSpecialTokens(config: Fields): Record<string, string> {
  const extra = config.get("extra_special_tokens");
  const own = typeof extra === "object" && !Array.isArray(extra) ? Object.entries(extra ?? {}) : [];
  const entries = [...SPECIAL_TOKENS.map((key): [string, unknown] => [key, config.get(key)]), ...own];
  return Object.fromEntries(
    entries.flatMap(([key, value]) => {
      const text = typeof value === "object" && value && "content" in value ? value.content : value;
      return typeof text === "string" ? [[key, text]] : [];
    }),
  );
}

function checkMessages(messages: readonly ChatMessage[]): void {
  const error = (field: string, found: unknown, expected: string) =>
    new InputError({ file: "chat", field, found: quote(found), expected });
  if (!Array.isArray(messages)) throw error("messages", messages, "an array of messages");
  if (messages.length === 0) throw error("messages", "none", "at least one message");
  for (const [index, message] of messages.entries()) {
    const { role, content }: Partial<ChatMessage> = Object(message);
    if (typeof role !== "string") throw error(`messages[${index}].role`, role, 'a text, such as "user"');
    if (typeof content !== "string") throw error(`messages[${index}].content`, content, "a text");
  }
}

function refuse(message: unknown): never {
  throw new Refusal(String(message));
}

/** Python's `range`. */
function range(first: number, end?: number, step = 1): number[] {
  const [from, to] = end === undefined ? [0, first] : [first, end];
  return Array.from({ length: Math.max(0, Math.ceil((to - from) / step)) }, (_, index) => from + index * step);
}
