import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test, vi } from "vitest";
import { FileFormatError, InputError } from "../../src/errors.ts";
import { ChatTemplate } from "../../src/text/chat_template.ts";
import type { ChatMessage, ChatOptions } from "../../src/types.ts";

const USER = [{ role: "user", content: "Hi" }];
const template = (chat_template: unknown, more: object = {}) =>
  ChatTemplate.read({ chat_template, ...more }, "m/tokenizer_config.json");

describe("rendered as by Python's Jinja", () => {
  interface Case {
    model: string;
    chat: string;
    options: ChatOptions;
    rendered?: string;
    refused?: string;
  }
  const {
    models,
    chats,
    cases,
  }: { models: Record<string, object>; chats: Record<string, ChatMessage[]>; cases: Case[] } = JSON.parse(
    readFileSync(process.env.CHATS ?? join(import.meta.dirname, "chat_templates.json"), "utf8"),
  );

  afterEach(() => void vi.useRealTimers());

  test.each(cases.map((one) => [one.model, one.chat, JSON.stringify(one.options).slice(0, 40), one] as const))(
    "%s, %s, %s",
    (model, chat, _, { options, rendered, refused }) => {
      vi.useFakeTimers({ now: new Date(2024, 6, 26, 9, 5, 3) });
      const read = ChatTemplate.read(models[model], "tokenizer_config.json")!;
      if (rendered !== undefined) return expect(read.render(chats[chat]!, options)).toBe(rendered);
      const rendering = () => read.render(chats[chat]!, options);
      expect(rendering).toThrow(InputError);
      expect(rendering).toThrow(
        expect.objectContaining({ field: "messages", message: expect.stringContaining(refused!) }),
      );
    },
  );
});

describe("where the template is", () => {
  test("none: undefined", () => {
    expect(ChatTemplate.read({}, "c")).toBeUndefined();
    expect(template(null)).toBeUndefined();
    expect(template([])).toBeUndefined();
  });

  test("chat_template.jinja comes before tokenizer_config.json, whose tokens it gets", () => {
    const config = { chat_template: "config", bos_token: "<s>" };
    const read = ChatTemplate.read(config, "c", { name: "m/chat_template.jinja", text: "jinja {{ bos_token }}" });
    expect(read?.render(USER)).toBe("jinja <s>");
  });

  test("of several the default one, tool_use for tools, or the one that is named", () => {
    const read = template([
      { name: "default", template: "D" },
      { name: "tool_use", template: "T{{ tools | length }}" },
      { name: "rag", template: "R{{ documents | length }}" },
    ])!;
    const tools = [{ type: "function" }];
    expect(read.render(USER)).toBe("D");
    expect(read.render(USER, { tools })).toBe("T1");
    expect(read.render(USER, { tools, template: "default" })).toBe("D");
    expect(read.render(USER, { documents: [{}, {}], template: "rag" })).toBe("R2");
    expect(() => read.render(USER, { template: "none" })).toThrow(InputError);
    expect(() => read.render(USER, { template: "none" })).toThrow('"default", "tool_use", "rag"');
  });

  test("a single one under another name is used; of several without a default one has to be named", () => {
    expect(template([{ name: "rag", template: "R" }])!.render(USER)).toBe("R");
    const two = template([
      { name: "a", template: "A" },
      { name: "b", template: "B" },
    ])!;
    expect(() => two.render(USER)).toThrow(InputError);
    expect(two.render(USER, { template: "b" })).toBe("B");
  });
});

describe("what a template gets", () => {
  test("special tokens, given as texts or as objects, and a model's own further ones", () => {
    const tokens = {
      bos_token: { __type: "AddedToken", content: "<s>" },
      eos_token: "</s>",
      pad_token: null,
      extra_special_tokens: { image_token: "<img>" },
    };
    const read = template("{{ bos_token }}{{ eos_token }}{{ image_token }}{{ pad_token is defined }}", tokens)!;
    expect(read.render(USER)).toBe("<s></s><img>false");
  });

  test("further fields of a message and further variables, which do not replace the messages", () => {
    const read = template("{{ messages[0].name }} {{ mood }} {{ bos_token }}", { bos_token: "<s>" })!;
    const messages = [{ ...USER[0]!, name: "Ada" }];
    expect(read.render(messages, { variables: { mood: "calm", bos_token: "!", messages: [] } })).toBe("Ada calm !");
  });

  test("tools and documents are none, not undefined, where they are not given", () => {
    expect(template("{{ tools is none }}{{ documents is none }}")!.render(USER)).toBe("truetrue");
  });
});

describe("errors", () => {
  test.each([
    ["no end", "{% if true %}x"],
    ["no Jinja", "{{ messages | }}"],
    ["an unknown filter", "{{ messages | shout }}"],
    ["a type error", "{{ none() }}"],
    ["an unknown function", "{{ shout('x') }}"],
  ])("a damaged template, %s: the error names the file and quotes the reason", (_, text) => {
    const read = template(text)!;
    expect(() => read.render(USER)).toThrow(FileFormatError);
    expect(() => read.render(USER)).toThrow(
      expect.objectContaining({ file: "m/tokenizer_config.json", field: "chat_template" }),
    );
  });

  test("a damaged chat_template.jinja is named, and one of several templates", () => {
    const jinja = ChatTemplate.read({}, "c", { name: "m/chat_template.jinja", text: "{% if %}" })!;
    expect(() => jinja.render(USER)).toThrow(expect.objectContaining({ file: "m/chat_template.jinja" }));
    const several = template([
      { name: "default", template: "D" },
      { name: "rag", template: "{% if %}" },
    ])!;
    expect(several.render(USER)).toBe("D");
    expect(() => several.render(USER, { template: "rag" })).toThrow(
      expect.objectContaining({ field: "chat_template.rag" }),
    );
  });

  test.each([
    ["a number", 3, "chat_template"],
    ["a list of texts", ["x"], "chat_template.0"],
    ["no template", [{ name: "x" }], "chat_template.0.template"],
  ])("chat_template that is %s", (_, value, field) => {
    expect(() => template(value)).toThrow(FileFormatError);
    expect(() => template(value)).toThrow(expect.objectContaining({ field }));
  });

  test("raise_exception in a macro and in a loop is the messages' fault", () => {
    const read = template(
      "{% macro no() %}{{ raise_exception('not that') }}{% endmacro %}{% for m in messages %}{{ no() }}{% endfor %}",
    )!;
    expect(() => read.render(USER)).toThrow(InputError);
    expect(() => read.render(USER)).toThrow("not that");
  });

  test.each([
    ["no array", "Hi", "messages"],
    ["none", [], "messages"],
    ["a text", ["Hi"], "messages[0].role"],
    ["null", [null], "messages[0].role"],
    ["no role", [{ content: "Hi" }], "messages[0].role"],
    ["no content", [...USER, { role: "user" }], "messages[1].content"],
  ])("messages that are none: %s", (_, messages, field) => {
    const rendering = () => template("x")!.render(messages as unknown as ChatMessage[]);
    expect(rendering).toThrow(InputError);
    expect(rendering).toThrow(expect.objectContaining({ field }));
  });
});
