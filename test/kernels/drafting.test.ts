/** The kernels of trees: what is proposed becomes rows, what is accepted moves into place. */

import { describe, expect, test } from "vitest";
import {
  NONE,
  PAGE_SLOTS,
  PROPOSAL_CAPACITY,
  PROPOSED,
  RANGE_BYTES,
  RANGE_COUNT,
  RANGE_VERIFY,
  RANGE_VERIFY_EARLY,
  ROW_BYTES,
  ROW_CAPACITY,
  RUNNING,
  STOPPED,
} from "../../src/kernels/constants.ts";
import { Commit, encodeProposal, Graft, type ProposedNode } from "../../src/kernels/drafting.ts";
import {
  encodeBatch,
  encodeSettings,
  PATH_BYTES,
  Plan,
  type RoundSettings,
  STATE_BYTES,
} from "../../src/kernels/layer_skip.ts";
import { type Random, seeded } from "../reference/random.ts";
import { laneOf, openBench, poisoned } from "./harness.ts";
import { randomPages, reversedPages, slotIn } from "./page_tables.ts";

const bench = openBench();

/** Pages of all positions of these tests. */
const PAGES = reversedPages(1000);

interface Row {
  token: number;
  position: number;
  slot: number;
  parent: number;
}

/** A row as the kernels leave it. */
interface GraftedRow extends Row {
  linear: number;
}

/** A round with a chain of drafts and a proposal on top of it, as `Proposal` holds it. */
interface Grafting {
  settings: RoundSettings;
  state: { length: number; pending: number; emitted: number; finished: number };
  chain: number[];
  proposal: Uint32Array<ArrayBuffer>;
}

/** What graft.wgsl does, as a plain function. */
function graftedRows({ settings, state, chain, proposal }: Grafting): Row[] {
  if (state.finished !== RUNNING) return [];
  const longest = Math.min(settings.maxTokens - state.emitted, settings.contextLength - state.length - 1) - 1;
  const rows: Row[] = [state.pending, ...chain.slice(0, longest)].map((token, i) => {
    const position = state.length + i;
    return { token, position, slot: slotIn(PAGES, position), parent: i === 0 ? NONE : i - 1 };
  });
  const chained = rows.length;
  const most = Math.min(ROW_CAPACITY, chained + settings.treeSize!, settings.contextLength - state.length);
  const became: (number | undefined)[] = [];
  for (let i = 0; i < Math.min(proposal[0]!, PROPOSAL_CAPACITY); i++) {
    const [token, continued] = proposal.subarray(2 + 2 * i, 4 + 2 * i) as unknown as [number, number];
    const own = continued - PROPOSED;
    const parent = continued < chained ? continued : own >= 0 && own < i ? became[own] : undefined;
    became.push(undefined);
    if (parent === undefined || token >= settings.vocabSize!) continue;
    const known = rows.findIndex((row) => row.parent === parent && row.token === token);
    const position = rows[parent]!.position + 1;
    if (known >= 0) became[i] = known;
    else if (rows.length < most && position - state.length <= longest) {
      became[i] = rows.length;
      rows.push({ token, position, slot: slotIn(PAGES, state.length + rows.length), parent });
    }
  }
  return rows;
}

async function graft({
  settings,
  state,
  chain,
  proposal,
}: Grafting): Promise<{ rows: GraftedRow[]; ranges: number[][] }> {
  const kernels = { plan: new Plan(bench.device), graft: new Graft(bench.device) };
  await Promise.all([kernels.plan.prepare(), kernels.graft.prepare()]);
  const { UNIFORM, STORAGE } = GPUBufferUsage;
  const rows = bench.output("rows", (ROW_CAPACITY * ROW_BYTES) / 4);
  const ranges = bench.upload("ranges", poisoned((RANGE_COUNT * RANGE_BYTES) / 4), UNIFORM | STORAGE);
  const words = poisoned(2 + 2 * PROPOSAL_CAPACITY);
  words.set(proposal);
  const shared = { rows, ranges, pages: bench.upload("pages", PAGES) };
  const settingsBuffer = bench.upload("settings", laneOf(encodeSettings(settings)), UNIFORM | STORAGE);
  const stateWords = Uint32Array.of(state.length, state.pending, state.emitted, state.finished);
  const states = bench.upload("states", laneOf(stateWords));
  const batch = bench.uniform("batch", encodeBatch([0], 0));
  const groups = {
    plan: kernels.plan.bind({ ...shared, batch, settings: settingsBuffer, states }),
    graft: kernels.graft.bind({
      ...{ ...shared, proposal: bench.upload("proposal", words), settings: settingsBuffer },
      state: { buffer: states, offset: 0, size: STATE_BYTES },
    }),
  };
  const tokens = bench.upload("drafts", Uint32Array.from([0, ...chain]));
  const [rowWords, rangeWords] = await bench.run(
    (recorder) => {
      kernels.plan.dispatch(recorder, groups.plan);
      for (const i of chain.keys()) recorder.copy(tokens, (i + 1) * 4, rows, (i + 1) * ROW_BYTES, 4);
      kernels.graft.dispatch(recorder, groups.graft);
    },
    rows,
    ranges,
  );
  bench.release();
  const rangeOf = (range: number) => [...rangeWords.subarray((range * RANGE_BYTES) / 4).subarray(0, 2)];
  const count = rangeOf(RANGE_VERIFY)[1]!;
  const table = Array.from({ length: count }, (_, i) => {
    const [token, position, slot, parent, , linear] = rowWords.subarray((i * ROW_BYTES) / 4);
    return { token: token!, position: position!, slot: slot!, parent: parent!, linear: linear! };
  });
  return { rows: table, ranges: [rangeOf(RANGE_VERIFY_EARLY), rangeOf(RANGE_VERIFY)] };
}

function expectGrafted(grafting: Grafting, { rows, ranges }: { rows: GraftedRow[]; ranges: number[][] }): void {
  const expected = graftedRows(grafting);
  const isChain = expected.every((row, i) => i === 0 || row.parent === i - 1);
  const linear = grafting.state.length + (isChain ? expected.length : 0);
  expect(rows).toEqual(expected.map((row) => ({ ...row, linear })));
  const { length, finished } = grafting.state;
  if (finished !== RUNNING) return;
  const [early, verify] = ranges;
  expect(verify).toEqual([0, expected.length]);
  expect(early![0]! + early![1]!).toBe(expected.length);
  expect(length + expected.length).toBeLessThanOrEqual(grafting.settings.contextLength);
  for (const { token, position } of expected.slice(early![0]! + 1)) {
    expect(token).toBeLessThan(grafting.settings.vocabSize!);
    expect(position).toBeLessThan(grafting.settings.contextLength);
  }
}

const settings: RoundSettings = {
  ...{ draftLength: 0, treeSize: 8, vocabSize: 100 },
  ...{ maxTokens: 100, contextLength: 500, eosTokenIds: [] },
};
const state = { length: 40, pending: 9, emitted: 6, finished: RUNNING };

function proposed(...nodes: [token: number, parent: number][]): Uint32Array<ArrayBuffer> {
  return encodeProposal(nodes.map(([token, parent]): ProposedNode => ({ token, parent })));
}

describe("drafting/graft", () => {
  const tree: [number, number][] = [
    [5, -1],
    [6, -1],
    [7, 0],
    [8, 0],
    [7, 1],
  ];
  const tokens = async (grafting: Partial<Grafting>) => {
    const whole = { settings, state, chain: [], proposal: proposed(), ...grafting };
    const grafted = await graft(whole);
    expectGrafted(whole, grafted);
    return grafted.rows.map(({ token, parent }) => [token, parent]);
  };
  const root = [9, NONE];

  test("a tree on the pending token", async () => {
    const rows = await tokens({ proposal: proposed(...tree) });
    expect(rows).toEqual([root, [5, 0], [6, 0], [7, 1], [8, 1], [7, 2]]);
  });

  test("nothing", async () => {
    expect(await tokens({ proposal: proposed() })).toEqual([root]);
  });

  test("a tree on a chain of drafts", async () => {
    const chain = [1, 2];
    // The first continues the chain's end, the second its first draft, the third is the chain's own.
    const proposal = Uint32Array.of(4, 0, 5, 2, 6, 1, 2, 1, 7, PROPOSED + 2);
    const rows = await tokens({ settings: { ...settings, draftLength: 2 }, chain, proposal });
    expect(rows).toEqual([root, [1, 0], [2, 1], [5, 2], [6, 1], [7, 2]]);
  });

  test("paths that begin alike share their rows", async () => {
    const proposal = proposed([5, -1], [6, 0], [7, 1], [5, -1], [6, 3], [8, 4]);
    expect(await tokens({ proposal })).toEqual([root, [5, 0], [6, 1], [7, 2], [8, 2]]);
  });

  test("what cannot be goes, with what continues it", async () => {
    const proposal = proposed([100, -1], [5, 0], [6, 7], [7, 3], [NONE, -1], [8, -1], [Number.NaN, 5], [9, -3], [1, 5]);
    expect(await tokens({ proposal })).toEqual([root, [8, 0], [1, 1]]);
  });

  test("as many rows as planned, as the table has, as the context has slots for", async () => {
    const wide = Array.from({ length: 200 }, (_, i): [number, number] => [i % 100, i < 100 ? -1 : i - 100]);
    const widest = { ...settings, treeSize: 1000 };
    expect(await tokens({ proposal: proposed(...wide) })).toHaveLength(9);
    expect(await tokens({ settings: widest, proposal: proposed(...wide) })).toHaveLength(ROW_CAPACITY);
    expect(await tokens({ settings: { ...widest, contextLength: 53 }, proposal: proposed(...wide) })).toHaveLength(13);
  });

  test("no path that emits more than is wanted or fits", async () => {
    const long = Array.from({ length: 8 }, (_, i): [number, number] => [i, i - 1]);
    expect(await tokens({ settings: { ...settings, maxTokens: 9 }, proposal: proposed(...long) })).toHaveLength(3);
    expect(await tokens({ settings: { ...settings, maxTokens: 7 }, proposal: proposed(...long) })).toHaveLength(1);
    expect(await tokens({ settings: { ...settings, contextLength: 45 }, proposal: proposed(...long) })).toHaveLength(4);
  });

  test("a generation that is over has no rows", async () => {
    expect(await tokens({ state: { ...state, finished: STOPPED }, proposal: proposed(...tree) })).toEqual([]);
  });

  test(
    "300 random proposals, garbage among them",
    seeded(async (random) => {
      for (let i = 0; i < 300; i++) {
        const grafting = randomGrafting(random);
        expectGrafted(grafting, await graft(grafting));
      }
    }),
  );
});

function randomGrafting(random: Random): Grafting {
  const vocabSize = random.pick([3, 100]);
  const draftLength = random.pick([0, 0, random.int(1, 8)]);
  const length = random.int(0, 300);
  const emitted = random.int(1, 50);
  const [few, many] = [random.int(1, 12), 200];
  const count = random.int(0, random.pick([6, PROPOSAL_CAPACITY]));
  const words = [count, 0];
  for (let i = 0; i < count; i++) {
    const garbage = random.uniform() < 0.1;
    const parent = random.pick([random.int(0, draftLength), PROPOSED + random.int(0, Math.max(0, i - 1))]);
    words.push(garbage ? random.int(0, 2 ** 32 - 1) : random.int(0, vocabSize - 1));
    words.push(random.uniform() < 0.05 ? random.int(0, 2 ** 32 - 1) : parent);
  }
  return {
    settings: {
      ...{ draftLength, vocabSize, treeSize: random.pick([4, 16, 63, 1000]) },
      ...{ maxTokens: emitted + random.pick([few, many]), contextLength: length + 1 + random.pick([few, many]) },
      eosTokenIds: [],
    },
    state: { length, pending: random.int(0, vocabSize - 1), emitted, finished: RUNNING },
    chain: random.ints(draftLength, 0, vocabSize - 1),
    proposal: Uint32Array.from(words),
  };
}

describe("drafting/commit", () => {
  test(
    "the slots of a path move into place, all others stay",
    seeded(async (random) => {
      const kernel = new Commit(bench.device);
      await kernel.prepare();
      for (let i = 0; i < 60; i++) {
        const vectors = random.pick([1, 3, 64, 65, 200]);
        const first = random.int(0, 20);
        const rows = [0];
        while (rows.length < 40 && rows.at(-1)! < 58 && random.uniform() < 0.85) {
          rows.push(rows.at(-1)! + random.int(1, random.pick([1, 3])));
        }
        const pages = randomPages(random, first + ROW_CAPACITY);
        const slotOf = (position: number) => slotIn(pages, position);
        const slots = (Math.max(...pages) + 1) * PAGE_SLOTS;
        const words = () => Uint32Array.from({ length: slots * vectors * 4 }, () => random.int(0, 2 ** 32 - 1));
        const caches = [words(), words()] as const;
        const path = poisoned(PATH_BYTES / 4);
        const count = random.pick([rows.length, rows.length, 0]);
        path.set([count, ...rows.map((row) => slotOf(first + row))]);
        path.set(
          rows.map((_, k) => slotOf(first + k)),
          1 + ROW_CAPACITY,
        );
        const [keys, values] = [bench.upload("keys", caches[0]), bench.upload("values", caches[1])];
        const shape = bench.uniform("shape", Uint32Array.of(vectors));
        const group = kernel.bind({ shape, path: bench.upload("path", path), keys, values });
        const moved = await bench.run((recorder) => kernel.dispatch(recorder, group, vectors), keys, values);
        bench.release();
        for (const [c, cache] of caches.entries()) {
          const expected = cache.slice();
          for (const [k, row] of rows.slice(0, count).entries()) {
            const from = slotOf(first + row) * vectors * 4;
            expected.set(cache.subarray(from, from + vectors * 4), slotOf(first + k) * vectors * 4);
          }
          expect(moved[c]!.every((word, at) => word === expected[at])).toBe(true);
        }
      }
    }),
  );
});
