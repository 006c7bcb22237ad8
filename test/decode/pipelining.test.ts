/**
 * Rounds ahead of the reader: a round is submitted before the one before it has been read, with one submission and one small
 * readback each, and one that was submitted in vain leaves no trace.
 */

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FixedController } from "../../src/decode/controllers/fixed.ts";
import { type DecodedRound, decode } from "../../src/decode/decoding.ts";
import { plainPlan, type RoundPlan } from "../../src/decode/plan.ts";
import type { Limits } from "../../src/decode/scheduler.ts";
import { load, type Model } from "../../src/index.ts";
import { type Engine, openEngine, poison } from "../engine.ts";
import { STORIES } from "../memory_folder.ts";

const PROMPT = [1, 403, 407, 261, 378];
const CONTEXT = 160;
const LIMITS: Limits = { maxTokens: 120, contextLength: CONTEXT, eosTokenIds: [] };
const DRAFTS: RoundPlan = { exitLayer: 2, draftLength: 3 };

describe("an engine", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await openEngine(STORIES, CONTEXT);
  });
  afterAll(() => engine.device.dispose());

  /** Decodes; `stop` is asked after each round, the prompt's end too. */
  async function run(plan: RoundPlan, stop: (rounds: readonly DecodedRound[]) => boolean, limits = LIMITS) {
    const { scheduler, rounds: queue, spec } = engine;
    const begin = await scheduler.prepare([plan]);
    scheduler.begin(limits, begin());
    const prefill = await scheduler.prefill(PROMPT, () => false);
    const rounds: DecodedRound[] = [];
    const controller = new FixedController(plan);
    for await (const round of decode(queue, prefill!, {
      ...{ lane: 0, promptIds: PROMPT, vocabSize: spec.vocabSize },
      limits,
      controller,
      observe: () => {},
    })) {
      rounds.push(round);
      if (stop(rounds)) break;
    }
    return { rounds, ids: rounds.flatMap(({ report }) => report.ids), length: rounds.at(-1)!.report.length };
  }

  /** Keys and values of the first `length` slots of each layer. */
  async function committed(length: number): Promise<Uint32Array[]> {
    const { device, kv, spec } = engine;
    const bytes = length * spec.kvHeads * spec.headDim * 4;
    const parts = await device.run("read KV", (recorder) =>
      [...kv.keys, ...kv.values].map((buffer) => {
        const { COPY_DST, MAP_READ } = GPUBufferUsage;
        const read = device.ledger.allocate("test", "KV", bytes, COPY_DST | MAP_READ);
        recorder.copy(buffer, 0, read, 0, bytes);
        return read;
      }),
    );
    device.ledger.releaseOwner("test");
    return parts.map((part) => new Uint32Array(part));
  }

  test("submits a round before it has read the one before, and never two ahead", async () => {
    const { device } = engine;
    const events: string[] = [];
    const submit = device.submitOwn.bind(device);
    device.submitOwn = (recorder) => {
      events.push("submit");
      return submit(recorder);
    };
    try {
      const { rounds } = await run(DRAFTS, () => {
        events.push("told");
        return false;
      });
      // The prompt's end and the first round; then after each that is told the next but one. How the last ones ended decides
      // whether one more was submitted.
      const steps = ["submit", "submit", ...rounds.slice(0, -2).flatMap(() => ["told", "submit"])];
      expect(rounds.length).toBeGreaterThan(20);
      expect(events.slice(0, steps.length)).toEqual(steps);
    } finally {
      device.submitOwn = submit;
    }
  });

  test("a round takes one submission and one readback of a few hundred bytes", async () => {
    const { device } = engine;
    const before = { submits: device.submits, readbacks: device.readbacks, bytes: device.readbackBytes };
    const { rounds } = await run(DRAFTS, () => false);
    const submits = device.submits - before.submits;
    expect(device.readbacks - before.readbacks).toBe(submits);
    expect(submits - rounds.length).toBeOneOf([0, 1]); // the prompt is short: one submission, which is the first of `rounds`
    expect((device.readbackBytes - before.bytes) / submits).toBeLessThan(300);
  });

  test.each([1, 2, 5, 9])("left after %i reads: the surplus round changes no committed key or value", async (reads) => {
    poison(engine.device, engine.kv);
    const left = await run(DRAFTS, (rounds) => rounds.length === reads);
    const keysAndValues = await committed(left.length);
    // Plain decoding, exactly as far: no round is surplus where the tokens are counted.
    poison(engine.device, engine.kv);
    const limits = { ...LIMITS, maxTokens: left.ids.length };
    const plain = await run(plainPlan(engine.spec.layers), () => false, limits);
    expect(left.ids).toEqual(plain.ids);
    expect(left.length).toBe(plain.length);
    expect(await committed(plain.length)).toEqual(keysAndValues);
  });

  test("a text that ends with an EOS on the GPU: the round behind it emits nothing", async () => {
    const { ids } = await run(DRAFTS, () => false);
    const eos = ids[17]!;
    const limits = { ...LIMITS, eosTokenIds: [eos] };
    const end = ids.indexOf(eos) + 1;
    for (const plan of [DRAFTS, plainPlan(engine.spec.layers)]) {
      const stopped = await run(plan, () => false, limits);
      expect(stopped.ids).toEqual(ids.slice(0, end));
    }
  });
});

describe("a generation", () => {
  let model: Model;
  beforeAll(async () => {
    model = await load(STORIES);
  });
  afterAll(() => model.dispose());

  test("hands out each round's tokens when they are there, while the next round is under way", async () => {
    const generation = model.generate(PROMPT, { exitLayer: 2, draftLength: 3, maxTokens: 60 });
    const ends: number[] = [];
    for await (const { round } of generation) if (round) ends.push(round.endMs);
    expect(ends).toEqual([...ends].sort((a, b) => a - b));
    const { rounds, stats } = await generation.result();
    expect(ends).toEqual(rounds.map(({ endMs }) => endMs));
    for (const [i, { startMs }] of rounds.entries()) {
      if (i > 0) expect(startMs).toBeGreaterThanOrEqual(rounds[i - 1]!.endMs);
    }
    // Submitted before the round before it was read: the GPU never waits for the host to decide.
    const ahead = rounds.filter(({ submittedMs }, i) => i > 0 && submittedMs <= rounds[i - 1]!.endMs);
    expect(ahead.length).toBeGreaterThan(0.5 * rounds.length);
    expect(stats.submits - rounds.length).toBeOneOf([0, 1]);
  });

  test("that is left frees its readbacks: no buffer more after ten of them", async () => {
    const leave = async () => {
      for await (const _ of model.generate(PROMPT, { exitLayer: 2, draftLength: 3 })) break;
    };
    await leave();
    const { buffers, bytes } = model.memory();
    for (let i = 0; i < 10; i++) await leave();
    expect(model.memory()).toMatchObject({ buffers, bytes });
  });
});
