/**
 * Conversations: what turns have in common is not computed again, and ids are those of the same transcript without a cache,
 * whatever was edited, generated again, branched, evicted or left out, and whoever drafts.
 */

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  BusyError,
  type Chat,
  type ChatSettings,
  ContextLengthError,
  type GenerateOptions,
  type Generation,
  type GenerationResult,
  InputError,
  type LoadOptions,
  load,
  type Model,
} from "../../src/index.ts";
import { randomDrafting, randomSampling } from "../decode/random_options.ts";
import { memoryFolder, STORIES } from "../memory_folder.ts";
import { type Random, seeded } from "../reference/random.ts";
import { SLOW } from "../slow.ts";

const TEMPLATE =
  "{{ bos_token }}{% for m in messages %}{{ m.role }}</s>{{ m.content }}</s>{% endfor %}" +
  "{% if add_generation_prompt %}assistant</s>{% endif %}";
const FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/** The default model with a chat template. */
function loadChat(options: LoadOptions = {}, template = TEMPLATE): Promise<Model> {
  const files = Object.fromEntries(FILES.map((name) => [name, Uint8Array.from(readFileSync(`${STORIES}${name}`))]));
  const folder = memoryFolder("chat-model", { ...files, "chat_template.jinja": new TextEncoder().encode(template) });
  return load(folder, { cache: false, ...options });
}

const SHORT = { maxTokens: 24, ignoreEos: true } as const;

/** Tokens that two prompts begin with. */
function common(a: readonly number[], b: readonly number[]): number {
  let length = 0;
  while (length < Math.min(a.length, b.length) && a[length] === b[length]) length++;
  return length;
}

/** The same text without a cache. */
async function expectFresh(model: Model, turn: Generation, result: GenerationResult, options: GenerateOptions) {
  const seed = result.seed === undefined ? {} : { seed: result.seed };
  const fresh = model.generate(turn.prompt, { ...options, ...seed, drafter: "none", reusePrompt: false });
  const { ids, stats } = await fresh.result();
  expect(result.ids).toEqual(ids);
  expect(stats.reusedTokens).toBe(0);
}

describe("the cache of a conversation", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadChat();
  });
  afterAll(() => model.dispose());

  test("five turns, the third one edited: only what follows the change is computed", async () => {
    const chat = model.chat({ system: "Tell a story.", ...SHORT });
    let cached: readonly number[] = [];
    const turn = async (generation: Generation) => {
      const result = await generation.result();
      const { promptTokens, reusedTokens } = result.stats;
      expect(promptTokens).toBe(result.promptIds.length);
      // Of what was there before, all that is the same; of the prompt at least the last token is computed.
      expect(reusedTokens).toBe(common(cached, result.promptIds));
      await expectFresh(model, generation, result, SHORT);
      // The last token has no keys and values yet.
      cached = [...result.promptIds, ...result.ids.slice(0, -1)];
      return result;
    };
    const said = ["Once upon a time", "Then?", "And the dog?", "And the cat?", "The end?"];
    const results: GenerationResult[] = [];
    for (const text of said) results.push(await turn(chat.send(text)));
    for (const [i, { promptIds, ids, stats }] of results.slice(0, -1).entries()) {
      const next = results[i + 1]!;
      expect(next.stats.reusedTokens).toBe(promptIds.length + ids.length - 1);
      expect(next.promptIds.slice(0, promptIds.length + ids.length)).toEqual([...promptIds, ...ids]);
      expect(stats.prefillSubmits).toBeGreaterThan(0);
    }
    expect(chat.messages.map(({ role }) => role)).toEqual(["system", ...said.flatMap(() => ["user", "assistant"])]);

    const edited = await turn(chat.edit(5, "And the girl?"));
    const before = results[2]!.promptIds;
    expect(edited.stats.reusedTokens).toBe(common(before, edited.promptIds));
    expect(edited.stats.reusedTokens).toBeGreaterThan(results[1]!.promptIds.length + results[1]!.ids.length);
    expect(chat.messages).toHaveLength(7);
    expect(chat.messages[5]).toEqual({ role: "user", content: "And the girl?" });

    // What it was before is still there.
    const back = await chat.edit(5, "And the dog?").result();
    expect(back.ids).toEqual(results[2]!.ids);
    expect(back.stats.reusedTokens).toBe(back.promptIds.length - 1);
  });

  test("an answer once more, and a branch, share what they have in common", async () => {
    const chat = model.chat({ ...SHORT, temperature: 1, seed: 5 });
    const first = await chat.send("Lily had a ball").result();
    const again = await chat.regenerate({ seed: 6 }).result();
    expect(again.ids).not.toEqual(first.ids);
    expect(again.stats.reusedTokens).toBe(again.stats.promptTokens - 1);
    expect(chat.messages).toHaveLength(2);
    expect((await chat.regenerate().result()).ids).toEqual(first.ids);

    const branch = chat.branch();
    const [a, b] = [await chat.send("It was red").result(), await branch.send("It was blue").result()];
    expect(b.stats.reusedTokens).toBeGreaterThan(first.promptIds.length + first.ids.length);
    expect([chat.messages.length, branch.messages.length]).toEqual([4, 4]);
    expect([chat.messages[2]!.content, branch.messages[2]!.content]).toEqual(["It was red", "It was blue"]);
    expect(a.promptIds).not.toEqual(b.promptIds);
  });

  test("a text that is given again is not computed again, unless it is asked for", async () => {
    const prompt = "One day, a little girl named Lily found a needle in her room.";
    const first = await model.generate(prompt, SHORT).result();
    const second = await model.generate(prompt, SHORT).result();
    const third = await model.generate(prompt, { ...SHORT, reusePrompt: false }).result();
    expect([second.ids, third.ids]).toEqual([first.ids, first.ids]);
    const { promptTokens } = first.stats;
    expect([second, third].map(({ stats }) => stats.reusedTokens)).toEqual([promptTokens - 1, 0]);
  });

  test("generated tokens that are given as a prompt are computed as a prompt", async () => {
    model.clearKvCache();
    const { promptIds, ids } = await model.generate("Tom liked to", SHORT).result();
    const { stats } = await model.generate([...promptIds, ...ids], SHORT).result();
    expect(stats.reusedTokens).toBe(promptIds.length);
  });

  test("a text that was computed may be scored, and the score leaves it as it is", async () => {
    const chat = model.chat(SHORT);
    await chat.send("Tim saw a bird").result();
    const { texts } = model.kvCache;
    const [scored] = (await model.score([1, 2, 3, 4], { at: [3] })).logits;
    expect(scored!.every(Number.isFinite)).toBe(true);
    expect(model.kvCache.texts).toBe(texts);
    const turn = chat.send("Where?");
    const result = await turn.result();
    expect(result.stats.reusedTokens).toBeGreaterThan(24);
    await expectFresh(model, turn, result, SHORT);
  });

  test("what is forgotten takes no room", () => {
    model.clearKvCache();
    expect(model.kvCache).toEqual({ capacity: 512, tokens: 0, texts: 0 });
  });
});

describe("turns that end otherwise", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadChat();
  });
  afterAll(() => model.dispose());

  test("an abort keeps what there was, and the conversation goes on from it", async () => {
    const chat = model.chat(SHORT);
    const aborted = new AbortController();
    const turn = chat.send("Once upon a time", { signal: aborted.signal });
    for await (const part of turn) if (part.round) aborted.abort();
    const { ids, finishReason, text } = await turn.result();
    expect(finishReason).toBe("abort");
    expect(ids.length).toBeLessThan(24);
    expect(chat.messages[1]).toEqual({ role: "assistant", content: text });
    const next = chat.send("Then?");
    const result = await next.result();
    expect(result.stats.reusedTokens).toBeGreaterThanOrEqual(ids.length);
    await expectFresh(model, next, result, SHORT);
  });

  test("one that fails, or never begins, leaves the conversation as it was", async () => {
    const chat = model.chat(SHORT);
    await chat.send("Once").result();
    const before = chat.messages;
    const trouble = new Error("no idea");
    const drafter = {
      name: "clueless",
      propose: () => {
        throw trouble;
      },
    };
    await expect(chat.send("Then?", { drafter }).result()).rejects.toBe(trouble);
    chat.send("never asked for");
    const gone = new AbortController();
    gone.abort();
    await chat.send("too late", { signal: gone.signal }).result();
    expect(chat.messages).toEqual(before);
    expect((await chat.send("Then?").result()).ids).toHaveLength(24);
    expect(chat.messages).toHaveLength(4);
  });

  test("turns do not overtake each other", async () => {
    const chat = model.chat(SHORT);
    const [first, second] = [chat.send("One"), chat.send("Two")];
    const parts = first[Symbol.asyncIterator]();
    await parts.next();
    await expect(second.result()).rejects.toThrow(BusyError);
    await first.result();
    const late = chat.send("Three");
    await chat.send("Four").result();
    await expect(late.result()).rejects.toThrow("a turn that was made before another one");
    expect(chat.messages.map(({ content }) => content).filter((text) => /^[A-Z][a-z]+$/.test(text))).toEqual([
      "One",
      "Four",
    ]);
  });

  test("what is no turn is refused at once, in words", async () => {
    const chat = model.chat(SHORT);
    expect(() => chat.regenerate()).toThrow("chat: messages: found 0 messages, expected a message to answer");
    expect(() => chat.edit(0, "x")).toThrow("messages[0]: found no message, expected a message that is answered");
    await chat.send("Hi").result();
    expect(() => chat.edit(1, "x")).toThrow("found a message of the role assistant");
    expect(() => chat.edit(2, "x")).toThrow("chat: index: found 2, expected an integer from 0 to 1");
    expect(() => chat.send("x", { maxTokens: 0 })).toThrow(InputError);
    expect(() => model.chat({ overflow: "shrink" as "slide" })).toThrow(
      'chat: overflow: found "shrink", expected one of error, drop-oldest, slide',
    );
    expect(() => model.chat({ sistem: "x" } as ChatSettings).send("Hi")).toThrow("sistem: found an unknown option");
    await using stories = await load(STORIES);
    expect(() => stories.chat()).toThrow("has no chat template");
  });
});

describe("a context that is full", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadChat({ contextLength: 192 });
  });
  afterAll(() => model.dispose());

  const SYSTEM = "Be brief.";

  /** Turns until nothing more fits in one piece. */
  async function fill(chat: Chat, turns = 8) {
    const results: GenerationResult[] = [];
    for (let i = 0; i < turns; i++) {
      const turn = chat.send(`Tell me of day ${i}`);
      const result = await turn.result();
      expect(result.promptIds.length + result.ids.length).toBeLessThanOrEqual(192);
      await expectFresh(model, turn, result, SHORT);
      results.push(result);
    }
    return results;
  }

  test("is an error, and the conversation is as it was", async () => {
    const chat = model.chat({ system: SYSTEM, ...SHORT });
    await expect(fill(chat, 20)).rejects.toThrow(ContextLengthError);
    const { length } = chat.messages;
    expect(() => chat.send("More")).toThrow(ContextLengthError);
    expect(chat.messages).toHaveLength(length);
  });

  test("drops the oldest turns, some at a time", async () => {
    const chat = model.chat({ system: SYSTEM, overflow: "drop-oldest", ...SHORT });
    const results = await fill(chat);
    expect(chat.messages).toHaveLength(17);
    expect(chat.leftOut.messages).toBeGreaterThan(0);
    expect(chat.leftOut.messages % 2).toBe(0);
    const head = model.chatIds([{ role: "system", content: SYSTEM }], { addGenerationPrompt: false });
    for (const { ids, promptIds } of results) {
      expect(ids).toHaveLength(24);
      expect(promptIds.slice(0, head.length)).toEqual(head);
    }
    // Turns between two cuts find what they said before.
    const reused = results.map(({ stats }) => stats.reusedTokens / stats.promptTokens);
    expect(reused.filter((share) => share > 0.6).length).toBeGreaterThan(2);
    expect(reused.filter((share) => share < 0.4).length).toBeGreaterThan(1);
  });

  test("slides behind its head", async () => {
    const chat = model.chat({ system: SYSTEM, overflow: "slide", ...SHORT });
    const results = await fill(chat);
    expect(chat.leftOut.tokens).toBeGreaterThan(0);
    expect(chat.leftOut.messages).toBe(0);
    const head = model.chatIds([{ role: "system", content: SYSTEM }], { addGenerationPrompt: false });
    const whole = chat.transcript();
    for (const { promptIds } of results) expect(promptIds.slice(0, head.length)).toEqual(head);
    // Behind it, the last prompt is a piece of the whole conversation.
    const { promptIds } = results.at(-1)!;
    expect(` ${whole.ids.join(" ")} `).toContain(` ${promptIds.slice(head.length + 8).join(" ")} `);
    // An edit that makes room brings back what was left out.
    await chat.edit(1, "Day 0").result();
    expect(chat.leftOut.tokens).toBe(0);
  });

  test("a message that is too long by itself is an error whatever the policy", async () => {
    const long = "a story of a dog and a cat and a bird ".repeat(12);
    for (const overflow of ["error", "drop-oldest"] as const) {
      const chat = model.chat({ overflow, ...SHORT });
      expect(() => chat.send(long)).toThrow(ContextLengthError);
    }
    const sliding = model.chat({ overflow: "slide", ...SHORT });
    expect((await sliding.send(long).result()).ids).toHaveLength(24);
  });
});

/** Many conversations in a small cache, whatever their users do. */
async function anyConversations(model: Model, random: Random, turns: number): Promise<void> {
  const words = ["Once", "the dog", "a cat", "Lily", "and then", "they went", "to the park", "with a ball"] as const;
  const text = () => Array.from({ length: random.int(1, 12) }, () => random.pick(words)).join(" ");
  const overflow = random.pick(["drop-oldest", "slide"] as const);
  const newChat = () => model.chat({ system: "Hi.", overflow });
  const chats: [Chat, ...Chat[]] = [newChat(), newChat(), newChat()];
  for (let i = 0; i < turns; i++) {
    const place = random.int(0, chats.length - 1);
    const chat = chats[place]!;
    const sampling = {
      ...randomSampling(random, model.spec.vocabSize),
      maxTokens: random.int(1, 30),
      ignoreEos: random.uniform() < 0.7,
    };
    const options = { ...sampling, ...randomDrafting(random, model.spec.layers, 31) };
    const users = chat.messages.flatMap(({ role }, at) => (role === "user" ? [at] : []));
    const edited = users[random.int(0, 3)];
    const kind = random.pick(["send", "send", "send", "edit", "regenerate", "branch"] as const);
    if (kind === "branch") chats[random.int(0, chats.length - 1)] = chat.branch();
    const turn =
      kind === "edit" && edited !== undefined
        ? chat.edit(edited, text(), options)
        : kind === "regenerate" && users.length > 0
          ? chat.regenerate(options)
          : chat.send(text(), options);
    const result = await turn.result();
    await expectFresh(model, turn, result, sampling);
    const { capacity, tokens } = model.kvCache;
    expect(tokens).toBeLessThanOrEqual(capacity);
  }
  model.clearKvCache();
  expect(model.kvCache).toMatchObject({ tokens: 0, texts: 0 });
}

describe("several conversations in one budget", () => {
  test("each finds its own while there is room; where there is none, the one that was silent longest is computed again", async () => {
    await using model = await loadChat({ contextLength: 128, kvBudget: 256 });
    expect(model.kvCache.capacity).toBe(256);
    const chats = Array.from({ length: 4 }, () => model.chat(SHORT));
    const answers = new Map<Chat, GenerationResult>();
    const say = async (chat: Chat, text: string) => {
      const turn = chat.send(text);
      const result = await turn.result();
      await expectFresh(model, turn, result, SHORT);
      answers.set(chat, result);
      return result.stats;
    };
    const [a, b, c, d] = chats as [Chat, Chat, Chat, Chat];
    await say(a, "Apples are red and round");
    await say(b, "Bears are big and brown");
    const known = ({ promptTokens, ids }: { promptTokens: number; ids: number[] }) => promptTokens + ids.length - 1;
    const before = answers.get(a)!;
    expect((await say(a, "Yes")).reusedTokens).toBe(known({ ...before.stats, ids: before.ids }));
    await say(c, "Cats are quiet, they sleep all day and all night and in the morning too");
    await say(d, "Dogs are loud, they run all day and all night and in the morning too");
    // There are 4 pages, and two conversations have come since.
    const again = await say(b, "Yes");
    expect(again.reusedTokens).toBeLessThan(known({ ...answers.get(b)!.stats, ids: answers.get(b)!.ids }));
  });

  test(
    "whatever their users do, whoever drafts: ids are those without a cache",
    seeded(async (random) => {
      await using model = await loadChat({ contextLength: 256, kvBudget: 320 });
      await anyConversations(model, random, SLOW ? 150 : 16);
    }),
  );

  test("a second model that drafts catches up with what it has not seen", async () => {
    await using model = await loadChat();
    const drafter = await model.loadDraftModel(STORIES);
    const chat = model.chat(SHORT);
    for (const [text, options] of [
      ["Once upon a time", { drafter }],
      ["Then?", {}],
      ["And then?", { drafter }],
      ["The end?", { drafter: "lookup" }],
    ] as const) {
      const turn = chat.send(text, options);
      const result = await turn.result();
      await expectFresh(model, turn, result, SHORT);
      // It is the same model: what it drafts is right.
      if ("drafter" in options && options.drafter === drafter) expect(result.stats.acceptanceRate).toBeGreaterThan(0.9);
    }
    const edited = chat.edit(2, "Why?", { drafter });
    const result = await edited.result();
    await expectFresh(model, edited, result, SHORT);
    expect(result.stats.acceptanceRate).toBeGreaterThan(0.9);
  });

  test("a budget below one context is refused, and one that no buffer holds", async () => {
    await expect(loadChat({ contextLength: 128, kvBudget: 127 })).rejects.toThrow(
      "load: kvBudget: found 127, expected an integer of at least 128",
    );
    await expect(loadChat({ kvBudget: 2 ** 40 })).rejects.toThrow(/load: kvBudget: found 1099511627776, expected at most \d+ on this device/); // biome-ignore format: a message
  });
});

test("a template that is no prefix of itself is computed from where it differs", async () => {
  // It tells what was said from behind: nothing but its beginning is ever the same.
  const turned = "{{ bos_token }}{% for m in messages | reverse %}{{ m.content }}</s>{% endfor %}";
  await using model = await loadChat({}, turned);
  const chat = model.chat(SHORT);
  for (const text of ["One", "Two", "Three"]) {
    const turn = chat.send(text);
    const result = await turn.result();
    expect(turn.prompt.generated).toEqual([]);
    await expectFresh(model, turn, result, SHORT);
  }
});
