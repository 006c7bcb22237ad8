/** The kernel that opens a round: how many tokens it drafts, which rows each of its passes works on. */

import { describe, expect, test } from "vitest";
import type { Recorder } from "../../src/gpu/commands.ts";
import {
  EOS_CAPACITY,
  FAILED,
  LANE_BYTES,
  LANES,
  LENGTH_REACHED,
  MAX_DRAFT_LENGTH,
  NONE,
  RANGE_BYTES,
  RANGE_CHUNK,
  RANGE_COUNT,
  RANGE_VERIFY,
  RANGE_VERIFY_EARLY,
  ROW_BYTES,
  ROW_CAPACITY,
  RUNNING,
  STOPPED,
} from "../../src/kernels/constants.ts";
import { encodeBatch, encodeSettings, Plan, type RoundSettings } from "../../src/kernels/layer_skip.ts";
import { type Random, seeded } from "../reference/random.ts";
import { openBench, POISON, packed, type Words } from "./harness.ts";
import { reversedPages, slotIn } from "./page_tables.ts";
import { draftLengthOf, type State, stateWords } from "./round_twin.ts";

const bench = openBench();

/** The lane of the text that is planned, and words of a row. */
const LANE = 2;
const ROW_WORDS = ROW_BYTES / 4;
const ROW_OF_POISON = Array<number>(ROW_WORDS).fill(POISON);

/** Pages of all positions of these tests. */
const PAGES = reversedPages(700);

describe("layer_skip/plan", () => {
  interface Planned {
    rows: Words;
    ranges: Words;
  }

  /** Runs the plan of each case in one submission. */
  async function plan(cases: readonly { settings: RoundSettings; state: State }[]): Promise<Planned[]> {
    const kernel = new Plan(bench.device);
    await kernel.prepare();
    const rowsBytes = ROW_CAPACITY * ROW_BYTES;
    const rangesBytes = RANGE_COUNT * RANGE_BYTES;
    const allSettings = bench.upload(
      "all settings",
      packed(
        cases.map(({ settings }) => encodeSettings(settings)),
        LANE_BYTES / 4,
      ),
    );
    const stateData = packed(
      cases.map(({ state }) => stateWords(state)),
      LANE_BYTES / 4,
    );
    const allStates = bench.upload("all states", stateData);
    const poison = bench.output("poison", rangesBytes / 4);
    const allRows = bench.output("all rows", (cases.length * rowsBytes) / 4);
    const allRanges = bench.output("all ranges", (cases.length * rangesBytes) / 4);
    const settings = bench.output("settings", (LANES * LANE_BYTES) / 4);
    const states = bench.output("states", (LANES * LANE_BYTES) / 4);
    const batch = bench.uniform("batch", encodeBatch([LANE], PAGES.length));
    const rows = bench.output("rows", rowsBytes / 4);
    const ranges = bench.output("ranges", rangesBytes / 4);
    const table = new Uint32Array(LANES * PAGES.length).fill(NONE);
    table.set(PAGES, LANE * PAGES.length);
    const pages = bench.upload("pages", table);
    const group = kernel.bind({ batch, settings, states, rows, ranges, pages });
    const record = (recorder: Recorder) => {
      for (const i of cases.keys()) {
        recorder.copy(allSettings, i * LANE_BYTES, settings, LANE * LANE_BYTES, LANE_BYTES);
        recorder.copy(allStates, i * LANE_BYTES, states, LANE * LANE_BYTES, LANE_BYTES);
        recorder.copy(poison, 0, rows, 0, rowsBytes);
        recorder.copy(poison, 0, ranges, 0, rangesBytes);
        kernel.dispatch(recorder, group);
        recorder.copy(rows, 0, allRows, i * rowsBytes, rowsBytes);
        recorder.copy(ranges, 0, allRanges, i * rangesBytes, rangesBytes);
      }
    };
    const [rowResults, rangeResults] = await bench.run(record, allRows, allRanges);
    return cases.map((_, i) => ({
      rows: rowResults.slice((i * rowsBytes) / 4, ((i + 1) * rowsBytes) / 4),
      ranges: rangeResults.slice((i * rangesBytes) / 4, ((i + 1) * rangesBytes) / 4),
    }));
  }

  const rangeOf = ({ ranges }: Planned, range: number) => [
    ...ranges.subarray((range * RANGE_BYTES) / 4).subarray(0, 2),
  ];

  function expectPlan(planned: Planned, settings: RoundSettings, state: State, what: string): void {
    const d = draftLengthOf(settings, state);
    const open = state.finished === RUNNING ? 1 : 0;
    const end = state.length + d + 1;
    for (let i = 0; i <= d; i++) {
      const position = state.length + i;
      const [token, parent, child] = [i === 0 ? state.pending : NONE, i === 0 ? NONE : i - 1, i < d ? i + 1 : NONE];
      const row = [token, position, slotIn(PAGES, position), parent, LANE, end, child];
      expect([...planned.rows.subarray(i * ROW_WORDS, (i + 1) * ROW_WORDS)], `${what}: row ${i}`).toEqual(
        open ? row : ROW_OF_POISON,
      );
    }
    for (let i = 0; i <= MAX_DRAFT_LENGTH; i++) {
      expect(rangeOf(planned, i), `${what}: draft step ${i}`).toEqual([open * Math.min(i, d + 1), i < d ? 1 : 0]);
    }
    expect(rangeOf(planned, RANGE_VERIFY_EARLY), `${what}: the last draft`).toEqual([d, open]);
    expect(rangeOf(planned, RANGE_VERIFY), `${what}: verification`).toEqual([0, open * (d + 1)]);
    const others = planned.ranges.subarray((RANGE_CHUNK * RANGE_BYTES) / 4);
    expect(
      others.every((word) => word === POISON),
      `${what}: the ranges of the prompt are the host's`,
    ).toBe(true);
  }

  const running: State = { length: 100, pending: 7, emitted: 10, finished: RUNNING };
  const settings: RoundSettings = { draftLength: 5, maxTokens: 1000, contextLength: 2000, eosTokenIds: [2] };

  test.each([
    ["the draft length asked for", settings, running, 5],
    ["none asked for", { ...settings, draftLength: 0 }, running, 0],
    ["more than rows allow", { ...settings, draftLength: 1000 }, running, MAX_DRAFT_LENGTH],
    ["three tokens wanted: two drafts and the round's own", { ...settings, maxTokens: 13 }, running, 2],
    ["one token wanted: no draft", { ...settings, maxTokens: 11 }, running, 0],
    ["six tokens wanted: all drafts", { ...settings, maxTokens: 16 }, running, 5],
    ["room for three: two drafts", { ...settings, contextLength: 104 }, running, 2],
    ["room for one: no draft", { ...settings, contextLength: 102 }, running, 0],
    ["the narrower of wanted and room", { ...settings, contextLength: 104, maxTokens: 12 }, running, 1],
    ["stopped", settings, { ...running, finished: STOPPED }, 0],
    [
      "full, with nothing wanted and no room",
      { ...settings, maxTokens: 10, contextLength: 101 },
      { ...running, finished: LENGTH_REACHED },
      0,
    ],
    ["failed", settings, { ...running, finished: FAILED }, 0],
    ["the first position", settings, { length: 0, pending: 1, emitted: 0, finished: RUNNING }, 5],
  ])("%s", async (name, settings, state, d) => {
    expect(draftLengthOf(settings, state)).toBe(d);
    const [planned] = await plan([{ settings, state }]);
    expectPlan(planned!, settings, state, name);
  });

  test(
    "any state: what is drafted never outgrows what is wanted, what fits and the rows",
    seeded(async (random) => {
      const cases = Array.from({ length: 200 }, () => {
        const length = random.int(0, 600);
        const emitted = random.int(1, 50);
        const finished = random.pick([RUNNING, RUNNING, RUNNING, STOPPED, LENGTH_REACHED, FAILED]);
        const [few, many] = [random.int(1, 8), random.int(1, 500)];
        return {
          state: { length, emitted, finished, pending: random.int(0, 49151) },
          settings: {
            draftLength: random.int(0, 40),
            maxTokens: emitted + random.pick([few, many]),
            contextLength: length + 1 + random.pick([few, many]),
            eosTokenIds: random.ints(random.int(0, EOS_CAPACITY), 0, 1000),
          },
        };
      });
      for (const [i, planned] of (await plan(cases)).entries()) {
        const { settings, state } = cases[i]!;
        expectPlan(planned, settings, state, JSON.stringify(cases[i]));
      }
    }),
  );

  test(
    "several texts: depth by depth, those that draft most first, no row too many",
    seeded(async (random) => {
      const kernel = new Plan(bench.device);
      await kernel.prepare();
      const lanePages = PAGES.length;
      for (let round = 0; round < 60; round++) {
        const lanes = shuffled(random).slice(0, random.int(1, LANES));
        const texts = lanes.map((lane) => {
          const emitted = random.int(1, 50);
          const length = random.int(0, 600);
          const [few, many] = [random.int(1, 8), 500];
          return {
            lane,
            state: {
              ...{ length, emitted, pending: random.int(0, 49151) },
              finished: random.pick([RUNNING, RUNNING, RUNNING, STOPPED]),
            },
            settings: {
              ...{ draftLength: random.int(0, 7), eosTokenIds: [], lane },
              maxTokens: emitted + random.pick([few, many]),
              contextLength: length + 1 + random.pick([few, many]),
            },
          };
        });
        const table = Uint32Array.from({ length: LANES * lanePages }, (_, i) => 1000 + ((i * 7) % 499));
        const settingsWords = new Uint32Array((LANES * LANE_BYTES) / 4);
        const states = new Uint32Array((LANES * LANE_BYTES) / 4);
        for (const { lane, settings, state } of texts) {
          settingsWords.set(encodeSettings(settings), (lane * LANE_BYTES) / 4);
          states.set(stateWords(state), (lane * LANE_BYTES) / 4);
        }
        const rows = bench.output("rows", ROW_CAPACITY * ROW_WORDS);
        const ranges = bench.output("ranges", (RANGE_COUNT * RANGE_BYTES) / 4);
        const group = kernel.bind({
          ...{ rows, ranges, pages: bench.upload("pages", table) },
          batch: bench.uniform("batch", encodeBatch(lanes, lanePages)),
          settings: bench.upload("settings", settingsWords),
          states: bench.upload("states", states),
        });
        const [rowWords, rangeWords] = await bench.run((recorder) => kernel.dispatch(recorder, group), rows, ranges);
        bench.release();

        const open = texts
          .filter(({ state }) => state.finished === RUNNING)
          .map((text) => ({ ...text, drafts: draftLengthOf(text.settings, text.state) }))
          .sort((a, b) => b.drafts - a.drafts); // stable
        const depths = Array.from({ length: MAX_DRAFT_LENGTH + 1 }, (_, depth) =>
          open.filter(({ drafts }) => drafts >= depth),
        );
        const firsts = depths.map((_, depth) => depths.slice(0, depth).reduce((sum, { length }) => sum + length, 0));
        const longest = open[0]?.drafts ?? 0;
        const planned = { rows: rowWords, ranges: rangeWords };
        for (const [depth, there] of depths.entries()) {
          const drafting = depth < longest ? there.length : 0;
          expect(rangeOf(planned, depth), `depth ${depth}`).toEqual([firsts[depth], drafting]);
          for (const [n, { lane, state, drafts }] of there.entries()) {
            const row = firsts[depth]! + n;
            const position = state.length + depth;
            const slot = slotIn(table.subarray(lane * lanePages), position);
            expect([...rowWords.subarray(row * ROW_WORDS, (row + 1) * ROW_WORDS)], `row ${row}`).toEqual([
              ...[depth === 0 ? state.pending : NONE, position, slot],
              ...[depth === 0 ? NONE : firsts[depth - 1]! + n, lane, state.length + drafts + 1],
              drafts > depth ? firsts[depth + 1]! + n : NONE,
            ]);
          }
        }
        const total = open.reduce((sum, { drafts }) => sum + drafts + 1, 0);
        expect(rangeOf(planned, RANGE_VERIFY_EARLY)).toEqual([firsts[longest], depths[longest]!.length]);
        expect(rangeOf(planned, RANGE_VERIFY)).toEqual([0, total]);
      }
    }),
  );
});

/** All lanes in random order. */
function shuffled(random: Random): number[] {
  const all = Array.from({ length: LANES }, (_, i) => i);
  return Array.from({ length: LANES }, () => all.splice(random.int(0, all.length - 1), 1)[0]!);
}
