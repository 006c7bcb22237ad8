/**
 * A model behind a message port: the same answers, errors and aborts as the model itself. The port is a real one, so all that crosses is
 * cloned; e2e/worker.spec.ts has the same in a worker of a browser.
 */

import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  BusyError,
  ContextLengthError,
  DisposedError,
  FileFormatError,
  InputError,
  LayerLeapError,
  load,
  type Model,
  type Round,
  SourceError,
  WorkerLostError,
  type WorkerModel,
} from "../../src/index.ts";
import type { LoadOptions, ModelSource } from "../../src/types.ts";
import { loadOver } from "../../src/worker/load_in_worker.ts";
import { ModelShelf } from "../../src/worker/model_shelf.ts";
import { receiver, serve } from "../../src/worker/serve.ts";
import { fromWire, toWire } from "../../src/worker/wire.ts";
import { memoryFolder, STORIES } from "../memory_folder.ts";

/** Pages of one worker. */
class Ports {
  readonly shelf = new ModelShelf();
  readonly #ports: MessagePort[] = [];
  #fail: (reason: string) => void = () => {};

  async load(source: ModelSource = STORIES, options: LoadOptions = {}): Promise<WorkerModel> {
    return await loadOver(() => this.#start(), source, { cache: false, ...options });
  }

  /** The worker ends without a word. */
  crash(): void {
    this.#fail("it crashed");
  }

  close(): void {
    for (const port of this.#ports) port.close();
  }

  #start() {
    const { port1, port2 } = new MessageChannel();
    this.#ports.push(port1, port2);
    const host = serve((message) => port2.postMessage(message), this.shelf);
    port2.onmessage = receiver(host);
    return {
      port: port1,
      close: () => port1.close(),
      failed: (heard: (reason: string) => void) => {
        this.#fail = heard;
        return () => {};
      },
    };
  }
}

let ports: Ports;
let remote: WorkerModel;
let here: Model;
beforeAll(async () => {
  ports = new Ports();
  [remote, here] = [await ports.load(), await load(STORIES, { cache: false })];
});
afterAll(async () => {
  await Promise.all([remote.dispose(), here.dispose()]);
  ports.close();
});

/** What of rounds does not depend on time. */
const kindOf = ({ drafted, accepted, drafter, exitLayer, draftLength }: Round) => {
  return { drafted, accepted, drafter, exitLayer, draftLength };
};

test("what is known of a model is known at once", async () => {
  const { name, spec, contextLength, dtype, kernels, parameters, weightBytes, device, chats } = here;
  expect(remote).toMatchObject({ name, spec, contextLength, dtype, kernels, parameters, weightBytes, chats });
  expect(remote.device).toEqual(device);
  expect(remote.loadStats.seconds).toBeGreaterThan(0);
  expect(await remote.defaults).toEqual(here.defaults);
  expect(await remote.warnings).toEqual(here.warnings);
  expect(await remote.exitAdapter).toBeUndefined();
  expect((await remote.memory()).byOwner.weights).toBe(here.memory().byOwner.weights);
  expect(await remote.kvCache).toMatchObject({ capacity: 512 });
});

test("texts are those of the model: streamed, in parts, and whole", async () => {
  const options = { maxTokens: 40, drafter: "layerskip", exitLayer: 2, draftLength: 4 } as const;
  const local = await here.generate("Once upon a time", options).result();
  const generation = remote.generate("Once upon a time", options);
  let text = "";
  const ids: number[] = [];
  const rounds: Round[] = [];
  for await (const part of generation) {
    text += part.text;
    ids.push(...part.ids);
    if (part.round) rounds.push(part.round);
  }
  const result = await generation.result();
  expect(ids).toEqual(local.ids);
  expect(result.ids).toEqual(local.ids);
  expect(text.trimStart()).toBe(local.text.trimStart());
  expect(rounds.map(kindOf)).toEqual(local.rounds.map(kindOf));
  expect(await generation.promptIds).toEqual(local.promptIds);
  expect(await generation.seed).toBeUndefined();
});

test("tokens, scores, options of every kind", async () => {
  expect(await remote.tokenize("Once")).toEqual(here.tokenize("Once"));
  expect(await remote.decode([403, 407])).toBe(here.decode([403, 407]));
  const scored = { at: [2], exitLayer: 2 };
  expect((await remote.score([1, 403, 407], scored)).logits).toEqual((await here.score([1, 403, 407], scored)).logits);
  const sampling = {
    temperature: 1,
    seed: 7,
    topK: 20,
    logitBias: new Map([[403, 2]]),
    maxTokens: 12,
    topLogprobs: 2,
    drafter: "none" as const,
  };
  const [a, b] = await Promise.all([
    remote.generate([1, 403], sampling).result(),
    here.generate([1, 403], sampling).result(),
  ]);
  expect(a.tokens).toEqual(b.tokens);
  const memory = await remote.saveDraftMemory();
  await remote.loadDraftMemory(memory);
  expect(memory.byteLength).toBeGreaterThan(512 * 32);
  await remote.prepare({ draftLength: 6 });
});

test("several at a time, and a loop that is left", async () => {
  const run = (i: number) => remote.generate([1, 400 + i], { maxTokens: 10, ignoreEos: true }).result();
  const results = await Promise.all([run(0), run(1), run(2)]);
  for (const [i, { ids }] of results.entries()) {
    expect(ids).toEqual((await here.generate([1, 400 + i], { maxTokens: 10, ignoreEos: true }).result()).ids);
  }
  const left = remote.generate("Once", { ignoreEos: true });
  for await (const _ of left) break;
  expect((await left.result()).finishReason).toBe("abort");
});

test("aborts cross, in the middle and before", async () => {
  const controller = new AbortController();
  const generation = remote.generate("Once", { ignoreEos: true, signal: controller.signal });
  let parts = 0;
  for await (const _ of generation) if (++parts === 3) controller.abort();
  expect(await generation.result()).toMatchObject({ finishReason: "abort" });
  const reason = new Error("changed my mind");
  await expect(remote.score([1], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  await expect(ports.load(STORIES, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

test("errors are of their classes, with their fields", async () => {
  const refused = await remote
    .generate("Once", { maxTokens: 0 })
    .result()
    .catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(InputError);
  expect(refused).toBeInstanceOf(LayerLeapError);
  expect(refused).toMatchObject({ code: "invalid-input", field: "maxTokens", found: "0", name: "InputError" });
  expect((refused as Error).message).toContain("maxTokens: found 0");
  expect((refused as Error).stack).toContain("InputError");
  const parts = remote.generate("once ".repeat(600))[Symbol.asyncIterator]();
  await expect(parts.next()).rejects.toThrow(ContextLengthError);
  const running = remote.generate("Once", { ignoreEos: true })[Symbol.asyncIterator]();
  await running.next();
  await expect(remote.score([1])).rejects.toThrow(BusyError);
  await running.return?.();
  await expect(ports.load("/no/such/folder/")).rejects.toThrow(SourceError);
  const own = memoryFolder("x", {});
  await expect(ports.load(own)).rejects.toThrow("load: source: found a Folder of one's own");
  await expect(load(STORIES, { worker: true })).rejects.toThrow("load: worker: found no workers here");
});

test("progress is told, and a loop of calls does not leak", async () => {
  const phases = new Set<string>();
  const another = await ports.load(STORIES, { contextLength: 64, onProgress: ({ phase }) => phases.add(phase) });
  expect([...phases]).toContain("upload");
  await another.dispose();
  await another.dispose();
  await expect(another.tokenize("x")).rejects.toThrow(WorkerLostError);
});

test("pages that load the same model share it, until the last of them", async () => {
  const [a, b] = await Promise.all([
    ports.load(STORIES, { contextLength: 96 }),
    ports.load(STORIES, { contextLength: 96 }),
  ]);
  const run = (model: WorkerModel) => model.generate("Once", { maxTokens: 8 }).result();
  const [one, other] = await Promise.all([run(a!), run(b!)]);
  expect(one!.ids).toEqual(other!.ids);
  await a!.dispose();
  expect((await run(b!)).ids).toEqual(one!.ids);
  await b!.dispose();
});

test("one page gives up a load that another waits for", async () => {
  const controller = new AbortController();
  const options = { contextLength: 80 };
  const [given, waited] = [
    ports.load(STORIES, { ...options, signal: controller.signal }),
    ports.load(STORIES, options),
  ];
  setTimeout(() => controller.abort(), 100);
  await expect(given).rejects.toMatchObject({ name: "AbortError" });
  const model = await waited;
  expect((await model.generate("Once", { maxTokens: 4 }).result()).ids).toHaveLength(4);
  await model.dispose();
});

test("a worker that ends tells all who wait", async () => {
  const lonely = new Ports();
  const model = await lonely.load(STORIES, { contextLength: 64 });
  const running = model.generate("Once", { ignoreEos: true }).result();
  const waiting = model.score([1, 2]).catch((error: unknown) => error);
  lonely.crash();
  await expect(running).rejects.toThrow(WorkerLostError);
  await expect(running).rejects.toThrow("(it crashed): load the model again");
  expect(await waiting).toBeInstanceOf(WorkerLostError);
  await expect(model.tokenize("x")).rejects.toMatchObject({ code: "worker-lost" });
  await model.dispose();
  await (await lonely.shelf.take(STORIES, { cache: false, contextLength: 64 })).release();
  lonely.close();
});

test("a second model drafts; a drafter of one's own is a module", async () => {
  const plain = await here.generate("Once upon a time", { maxTokens: 20, drafter: "none" }).result();
  const drafter = await remote.loadDraftModel(STORIES);
  expect(drafter.parameters).toBe(here.parameters);
  const drafted = await remote.generate("Once upon a time", { maxTokens: 20, drafter }).result();
  expect(drafted.ids).toEqual(plain.ids);
  expect(drafted.stats.plans[0]).toMatchObject({ drafter: "model" });

  const module = (name: string) => {
    const url = pathToFileURL(new URL("drafters_of_ones_own.ts", import.meta.url).pathname);
    url.hash = name;
    return url;
  };
  for (const name of ["", "Eager", "make"]) {
    const own = await remote.generate("Once upon a time", { maxTokens: 20, drafter: module(name) }).result();
    expect(own.ids).toEqual(plain.ids);
    expect(own.stats.plans[0]).toMatchObject({ drafter: "own" });
  }
  const none = remote.generate("Once", { drafter: module("nothing") }).result();
  await expect(none).rejects.toThrow("export nothing: found number, expected an object with a method propose");
});

describe("a conversation", () => {
  const template = "{{ bos_token }}{% for m in messages %}{{ m.role }}</s>{{ m.content }}</s>{% endfor %}assistant</s>";
  let chatting: WorkerModel;
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "layerleap-worker-"));
    const names = [
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ];
    for (const name of names) copyFileSync(join(STORIES, name), join(folder, name));
    writeFileSync(join(folder, "chat_template.jinja"), template);
    chatting = await ports.load(folder);
  });
  afterAll(async () => {
    await chatting.dispose();
    rmSync(folder, { recursive: true });
  });

  test("goes on, is edited and branches; messages are there when a turn has ended", async () => {
    expect(chatting.chats).toBe(true);
    const chat = chatting.chat({ system: "Hi.", maxTokens: 12, ignoreEos: true });
    expect(chat.messages).toEqual([{ role: "system", content: "Hi." }]);
    const first = await chat.send("Once").result();
    expect(chat.messages.map(({ role }) => role)).toEqual(["system", "user", "assistant"]);
    expect(chat.messages[2]!.content).toBe(first.text);
    const second = chat.send("Then?");
    for await (const part of second) expect(part.tokens.length).toBeGreaterThan(0);
    expect(chat.messages).toHaveLength(5);
    expect((await second.result()).stats.reusedTokens).toBeGreaterThan(first.promptIds.length);
    const branch = chat.branch();
    await chat.edit(3, "Why?").result();
    await branch.regenerate().result();
    expect([chat.messages[3]!.content, branch.messages[3]!.content]).toEqual(["Why?", "Then?"]);
    const { ids, generated } = await chat.transcript();
    expect(generated.length).toBe(2);
    const again = await chatting.generate({ ids, generated }, { maxTokens: 3, reusePrompt: false }).result();
    expect(again.ids.length).toBeGreaterThan(0);
  });

  test("what is no turn is refused when it is asked for", async () => {
    const chat = chatting.chat({});
    await expect(chat.regenerate().result()).rejects.toThrow(InputError);
    await expect(chat.edit(0, "x").result()).rejects.toThrow("found no message");
    await expect(remote.chat({}).send("Hi").result()).rejects.toThrow("has no chat template");
  });
});

describe("errors as they cross", () => {
  test.each([
    new InputError({ file: "f", field: "x", found: "1", expected: "2" }),
    new FileFormatError(
      { file: "f", field: "x", found: "1", expected: "2" },
      { cause: new SourceError("f", "gone", { status: 404 }) },
    ),
    new ContextLengthError(10, 5),
    new DisposedError(),
    new BusyError(),
    new WorkerLostError(),
  ])("$name", (error) => {
    const there = fromWire(structuredClone(toWire(error))) as LayerLeapError;
    expect(there).toBeInstanceOf(error.constructor);
    expect(there).toEqual(error);
    expect(there.message).toBe(error.message);
    expect(there.cause).toEqual(error.cause);
    expect(Object.keys(there).sort()).toEqual(Object.keys(error).sort());
  });

  test("others are cloned, or told in words", () => {
    expect(fromWire(structuredClone(toWire(new TypeError("no"))))).toEqual(new TypeError("no"));
    const odd = Object.assign(new Error("odd"), { run: () => {} });
    expect((fromWire(structuredClone(toWire({ odd, toString: () => "odd thing" }))) as Error).message).toBe(
      "odd thing",
    );
  });
});
