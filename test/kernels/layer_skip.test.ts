/** The kernel that closes a round, alone and with the one that opens it: what is accepted, emitted, moved and told. */

import { describe, expect, test } from "vitest";
import type { Recorder } from "../../src/gpu/commands.ts";
import {
  EOS_CAPACITY,
  FAILED,
  LENGTH_REACHED,
  NONE,
  RANGE_BYTES,
  RANGE_COUNT,
  RANGE_VERIFY,
  ROW_BYTES,
  ROW_CAPACITY,
  RUNNING,
  STOPPED,
} from "../../src/kernels/constants.ts";
import {
  Accept,
  decodeReport,
  encodeBatch,
  encodeSettings,
  PATH_BYTES,
  Plan,
  REPORT_BYTES,
  type Report,
  type RoundSettings,
  SETTINGS_BYTES,
  STATE_BYTES,
} from "../../src/kernels/layer_skip.ts";
import { type Random, seeded } from "../reference/random.ts";
import { laneOf, openBench, POISON, packed, poisoned, rowSet, type Words } from "./harness.ts";
import { reversedPages, slotIn } from "./page_tables.ts";
import { acceptRound, draftLengthOf, type State, stateWords } from "./round_twin.ts";

const bench = openBench();

function stateOf(words: Words): State {
  const [length, pending, emitted, finished] = words;
  return { length: length!, pending: pending!, emitted: emitted!, finished: finished! };
}

/** Rows of a round from row `first` on. A row stands in the slot of the position of its number, its position is one more than its parent's. */
function rowWords({ state, drafts, first, position, parents }: Round): Words {
  const words = poisoned(ROW_CAPACITY * (ROW_BYTES / 4));
  const depths = [0];
  for (const [i, token] of [state.pending, ...drafts].entries()) {
    const parent = i === 0 ? NONE : (parents?.[i - 1] ?? i - 1);
    if (parent !== NONE) depths.push(depths[parent]! + 1);
    const continued = parent === NONE ? NONE : first + parent;
    const row = [token, position + depths[i]!, slotIn(PAGES, position + i), continued, 0, 0, NONE];
    words.set(row, (first + i) * (ROW_BYTES / 4));
  }
  return words;
}

interface Round {
  settings: RoundSettings;
  state: State;
  /** Number and position of the row that continues the committed sequence; the drafts are the rows after it. */
  first: number;
  position: number;
  drafts: number[];
  targets: number[];
  /** The row that each draft continues; a chain where they are not given. */
  parents?: number[];
}

interface Accepted {
  state: State;
  report: Report;
  /** Slots to be moved, one behind the other; empty where all is in place. */
  moved: number[];
  /** What was written to the text, from the position behind the round's first. */
  written: number[];
}

/** Runs `accept` on each round of its own, in one submission. An empty `targets` makes a range of no rows. */
async function accept(rounds: readonly Round[]): Promise<Accepted[]> {
  const kernel = new Accept(bench.device);
  await kernel.prepare();
  const rowsBytes = ROW_CAPACITY * ROW_BYTES;
  const targetBytes = ROW_CAPACITY * 4;
  const all = <T extends ArrayLike<number>>(name: string, words: (round: Round) => T, bytes: number) =>
    bench.upload(name, packed(rounds.map(words), bytes / 4));
  const allSettings = all("all settings", ({ settings }) => encodeSettings(settings), SETTINGS_BYTES);
  const allStates = all("all states", ({ state }) => stateWords(state), STATE_BYTES);
  const allRows = all("all rows", rowWords, rowsBytes);
  const allTargets = all(
    "all targets",
    ({ first, targets }) => {
      const words = poisoned(ROW_CAPACITY);
      words.set(targets, first);
      return words;
    },
    targetBytes,
  );
  const allReports = bench.output("all reports", (rounds.length * REPORT_BYTES) / 4);
  const allPaths = bench.output("all paths", (rounds.length * PATH_BYTES) / 4);
  const texts = bench.output("texts", rounds.length * TEXT_CAPACITY);
  const poison = bench.output("poison", TEXT_CAPACITY);

  const settings = bench.uniform("settings", new Uint32Array(SETTINGS_BYTES / 4));
  const state = bench.output("state", STATE_BYTES / 4);
  const rows = bench.output("rows", rowsBytes / 4);
  const targets = bench.output("targets", ROW_CAPACITY);
  const report = bench.output("report", REPORT_BYTES / 4);
  const path = bench.output("path", PATH_BYTES / 4);
  const history = bench.output("history", TEXT_CAPACITY);
  // Range i is that of round i.
  const range = bench.ranges(...rounds.map(({ first, targets }) => ({ first, count: targets.length })));
  const pages = bench.upload("pages", PAGES);
  const group = kernel.bind({ range, settings, rows, targets, state, report, path, history, pages });
  const record = (recorder: Recorder) => {
    for (const i of rounds.keys()) {
      recorder.copy(allSettings, i * SETTINGS_BYTES, settings, 0, SETTINGS_BYTES);
      recorder.copy(allStates, i * STATE_BYTES, state, 0, STATE_BYTES);
      recorder.copy(allRows, i * rowsBytes, rows, 0, rowsBytes);
      recorder.copy(allTargets, i * targetBytes, targets, 0, targetBytes);
      recorder.copy(poison, 0, report, 0, REPORT_BYTES);
      recorder.copy(poison, 0, history, 0, TEXT_CAPACITY * 4);
      kernel.dispatch(recorder, group, rowSet(i, ROW_CAPACITY));
      recorder.copy(state, 0, allStates, i * STATE_BYTES, STATE_BYTES);
      recorder.copy(report, 0, allReports, i * REPORT_BYTES, REPORT_BYTES);
      recorder.copy(path, 0, allPaths, i * PATH_BYTES, PATH_BYTES);
      recorder.copy(history, 0, texts, i * TEXT_CAPACITY * 4, TEXT_CAPACITY * 4);
    }
  };
  const [states, reports, paths, texted] = await bench.run(record, allStates, allReports, allPaths, texts);
  bench.release();
  return rounds.map(({ position }, i) => {
    const [moves = 0, ...moving] = paths.slice((i * PATH_BYTES) / 4, ((i + 1) * PATH_BYTES) / 4);
    const places = moving.slice(ROW_CAPACITY, ROW_CAPACITY + moves);
    expect(places).toEqual(places.map((_, k) => slotIn(PAGES, position + k)));
    const text = [...texted.slice(i * TEXT_CAPACITY, (i + 1) * TEXT_CAPACITY)];
    const written = text.flatMap((id, at) => (id === POISON ? [] : [{ id, at }]));
    expect(written.map(({ at }) => at)).toEqual(written.map((_, n) => position + 1 + n));
    return {
      state: stateOf(states.slice(i * 4, i * 4 + 4)),
      report: decodeReport(reports.slice((i * REPORT_BYTES) / 4, ((i + 1) * REPORT_BYTES) / 4).buffer),
      moved: moving.slice(0, moves),
      written: written.map(({ id }) => id),
    };
  });
}

/** Positions of the text in these tests. */
const TEXT_CAPACITY = 700;
const PAGES = reversedPages(TEXT_CAPACITY);

/** A round whose drafts often agree, with every way to end not far off. */
function randomRound(random: Random): Round {
  const first = random.pick([0, random.int(0, ROW_CAPACITY - 1)]);
  const d = random.int(0, random.pick([1, 4, ROW_CAPACITY - 1 - first]));
  const drafted = Math.min(d, ROW_CAPACITY - 1 - first);
  const vocabulary = random.pick([3, 50, 49152]);
  const agreement = random.pick([0.5, 0.9, 1]);
  const failure = random.pick([0, 0, 0.1]);
  const targets = random.ints(drafted + 1, 0, vocabulary - 1).map((id) => (random.uniform() < failure ? NONE : id));
  const drafts = targets
    .slice(0, drafted)
    .map((target) => (random.uniform() < agreement ? target : random.pick([NONE, random.int(0, vocabulary - 1)])));
  const tree = random.uniform() < 0.5;
  const parents = drafts.map((_, i) => (tree ? random.int(Math.max(0, i - random.pick([2, 63])), i) : i));
  const position = random.int(0, 500);
  const emitted = random.int(0, 100);
  // As the plan promises: what the round may emit is still wanted and fits.
  const [tight, wide] = [drafted + 1 + random.int(0, 2), 1000];
  const eos = random.pick([[], [random.pick([targets[0]!, ...targets])], random.ints(EOS_CAPACITY, 0, 49151)]);
  return {
    settings: {
      draftLength: drafted,
      maxTokens: emitted + random.pick([tight, wide]),
      contextLength: position + 1 + random.pick([tight, wide]),
      eosTokenIds: eos.filter((id) => id !== NONE),
    },
    state: { length: position, pending: random.int(0, 49151), emitted, finished: RUNNING },
    first,
    position,
    drafts,
    targets,
    ...(tree && { parents }),
  };
}

describe("layer_skip/accept", () => {
  const settings: RoundSettings = { draftLength: 8, maxTokens: 100, contextLength: 500, eosTokenIds: [2, 3] };
  const state: State = { length: 40, pending: 9, emitted: 6, finished: RUNNING };
  const base: Round = { settings, state, first: 0, position: 40, drafts: [], targets: [] };

  test.each([
    ["no drafts: the target's own token", { drafts: [], targets: [5] }, [5], 0, RUNNING],
    ["all agree: a bonus follows", { drafts: [5, 6], targets: [5, 6, 7] }, [5, 6, 7], 2, RUNNING],
    ["the second is refused: corrected", { drafts: [5, 6, 7], targets: [5, 8, 7, 1] }, [5, 8], 1, RUNNING],
    [
      "the first is refused; a later agreement counts for nothing",
      { drafts: [5, 6], targets: [4, 6, 7] },
      [4],
      0,
      RUNNING,
    ],
    [
      "an accepted EOS ends it and drops what was accepted behind",
      { drafts: [5, 2, 7], targets: [5, 2, 7, 8] },
      [5, 2],
      2,
      STOPPED,
    ],
    ["an EOS as the correction", { drafts: [5, 6], targets: [5, 3, 7] }, [5, 3], 1, STOPPED],
    ["an EOS as the bonus", { drafts: [5], targets: [5, 2] }, [5, 2], 1, STOPPED],
    ["an EOS drafted in vain is none", { drafts: [2], targets: [5, 2] }, [5], 0, RUNNING],
    ["the earlier of two EOS", { drafts: [3, 2], targets: [3, 2, 5] }, [3], 1, STOPPED],
    ["logits that are no numbers, at once", { drafts: [5], targets: [NONE, 6] }, [], 0, FAILED],
    ["logits that are no numbers, after an accepted draft", { drafts: [5, 6], targets: [5, NONE, 6] }, [5], 1, FAILED],
    [
      "a draft that is no id never agrees with a target that is none",
      { drafts: [NONE], targets: [NONE, 6] },
      [],
      0,
      FAILED,
    ],
    ["a draft that is no id is refused", { drafts: [NONE], targets: [6, 7] }, [6], 0, RUNNING],
    ["a failure behind the refusal is none", { drafts: [5, 6], targets: [4, NONE, NONE] }, [4], 0, RUNNING],
  ])("%s", async (name, round, ids, accepted, finished) => {
    const [result] = await accept([{ ...base, ...round }]);
    const length = 40 + ids.length;
    const { drafts } = round;
    expect(result!.report, name).toEqual({
      ...{ drafted: drafts.length, accepted, finished, length, ids },
      ...{ path: ids.map((_, i) => i), draftIds: drafts, draftParents: drafts.map((_, i) => i) },
    });
    expect(result!.moved, name).toEqual([]);
    expect(result!.written, name).toEqual(ids);
    expect(result!.state, name).toEqual({ length, pending: ids.at(-1) ?? 9, emitted: 6 + ids.length, finished });
  });

  test.each([
    // A root with the drafts 5 and 6; 7 and 8 behind 5, 7 behind 6.
    ["the first branch", { 0: 5, 1: 7, 3: 4 }, [5, 7, 4], [0, 1, 3], 2],
    ["the branch that begins later", { 0: 6, 2: 7, 5: 4 }, [6, 7, 4], [0, 2, 5], 2],
    ["half a branch: corrected", { 0: 6, 2: 9 }, [6, 9], [0, 2], 1],
    ["another branch's draft is none of this one's", { 0: 6, 2: 8 }, [6, 8], [0, 2], 1],
    ["none", { 0: 9 }, [9], [0], 0],
  ] as const)("of a tree: %s", async (_, chosen: Record<number, number>, ids, path, accepted) => {
    const drafts = [5, 6, 7, 8, 7];
    const targets = Array.from({ length: 6 }, (_, row) => chosen[row] ?? 1);
    const [result] = await accept([{ ...base, drafts, parents: [0, 0, 1, 1, 2], targets }]);
    expect(result!.report).toMatchObject({ drafted: 5, ids, path, accepted, draftParents: [0, 0, 1, 1, 2] });
    expect(result!.moved).toEqual(path.every((row, k) => row === k) ? [] : path.map((row) => slotIn(PAGES, 40 + row)));
  });

  test.each([
    ["maxTokens reached", { maxTokens: 9 }, [5, 6], [5, 6, 7], LENGTH_REACHED],
    ["one token short of maxTokens", { maxTokens: 10 }, [5, 6], [5, 6, 7], RUNNING],
    ["the context is full: 43 committed and the pending one", { contextLength: 44 }, [5, 6], [5, 6, 7], LENGTH_REACHED],
    ["one place left", { contextLength: 45 }, [5, 6], [5, 6, 7], RUNNING],
    ["an EOS that is also the last token stops", { maxTokens: 9 }, [5, 6], [5, 6, 2], STOPPED],
    ["a failure is told apart from the end", { maxTokens: 7 }, [5], [5, NONE], FAILED],
  ])("%s", async (_, limits, drafts, targets, finished) => {
    const round = { ...base, settings: { ...settings, ...limits }, drafts, targets };
    const [result] = await accept([round]);
    expect(result!.report.finished).toBe(finished);
    expect(result!.state.finished).toBe(finished);
  });

  test("every place of a full set of EOS ids counts, and places beyond the set do not", async () => {
    const eosTokenIds = Array.from({ length: EOS_CAPACITY }, (_, i) => 100 + i);
    const stops = eosTokenIds.map((id) => ({ ...base, settings: { ...settings, eosTokenIds }, targets: [id] }));
    for (const { report } of await accept(stops)) expect(report.finished).toBe(STOPPED);
    // Unused places hold 0, which is an id.
    const runs = [[], [7], [7, 8, 9, 10, 11]].map((set) => ({
      ...base,
      settings: { ...settings, eosTokenIds: set },
      targets: [0],
    }));
    for (const { report } of await accept(runs)) expect(report.finished).toBe(RUNNING);
  });

  test.each([RUNNING, STOPPED, LENGTH_REACHED, FAILED])(
    "no rows: nothing moves, and state %i is reported",
    async (finished) => {
      const [result] = await accept([{ ...base, state: { ...state, finished }, first: 3 }]);
      expect(result!.state).toEqual({ ...state, finished });
      expect(result!.report).toMatchObject({ drafted: 0, accepted: 0, ids: [], finished });
    },
  );

  test(
    "3000 random rounds end as the plain function says",
    seeded(async (random) => {
      for (let batch = 0; batch < 6; batch++) {
        const rounds = Array.from({ length: 500 }, () => randomRound(random));
        for (const [i, result] of (await accept(rounds)).entries()) {
          const { settings, state, position, drafts, targets, parents } = rounds[i]!;
          const expected = acceptRound(settings, state, position, drafts, targets, parents);
          const { path, ids } = expected.report;
          const moved = path.every((row, k) => row === k) ? [] : path.map((row) => slotIn(PAGES, position + row));
          expect(result, JSON.stringify(rounds[i])).toEqual({ ...expected, moved, written: ids });
        }
      }
    }),
  );
});

describe("plan and accept, round after round without the host", () => {
  const ROUNDS = 12;

  test(
    "a recorded generation runs to its end and its surplus rounds do nothing",
    seeded(async (random) => {
      const [plan, accept] = [new Plan(bench.device), new Accept(bench.device)];
      await Promise.all([plan.prepare(), accept.prepare()]);
      for (let generation = 0; generation < 30; generation++) {
        const vocabulary = random.pick([4, 30]);
        const settings = {
          draftLength: random.int(0, 9),
          maxTokens: random.int(2, 40),
          contextLength: random.int(23, 60),
          eosTokenIds: random.pick([[], [3]]),
        };
        const start = { length: 20, pending: random.int(0, vocabulary - 1), emitted: 1, finished: RUNNING };
        const targets = Array.from({ length: ROUNDS }, () => random.ints(ROW_CAPACITY, 0, vocabulary - 1));
        const drafts = targets.map((ids) => ids.map((id) => (random.uniform() < 0.8 ? id : (id + 1) % vocabulary)));

        const rowsBuffer = bench.output("rows", (ROW_CAPACITY * ROW_BYTES) / 4);
        const { UNIFORM, STORAGE } = GPUBufferUsage;
        const ranges = bench.upload("ranges", poisoned((RANGE_COUNT * RANGE_BYTES) / 4), UNIFORM | STORAGE);
        const states = bench.upload("states", laneOf(Uint32Array.from(stateWords(start))));
        const state = { buffer: states, offset: 0, size: STATE_BYTES };
        const settingsBuffer = bench.upload("settings", laneOf(encodeSettings(settings)), UNIFORM | STORAGE);
        const targetBuffer = bench.output("targets", ROW_CAPACITY);
        const report = bench.output("report", REPORT_BYTES / 4);
        const allDrafts = bench.upload("all drafts", packed(drafts, ROW_CAPACITY));
        const allTargets = bench.upload("all targets", packed(targets, ROW_CAPACITY));
        const allReports = bench.output("all reports", (ROUNDS * REPORT_BYTES) / 4);
        const pages = bench.upload("pages", PAGES);
        const batch = bench.uniform("batch", encodeBatch([0], 0));
        const planGroup = plan.bind({
          ...{ batch, settings: settingsBuffer, states, rows: rowsBuffer, ranges, pages },
        });
        const acceptGroup = accept.bind({
          range: ranges,
          settings: settingsBuffer,
          rows: rowsBuffer,
          targets: targetBuffer,
          ...{ state, report, pages },
          path: bench.output("path", PATH_BYTES / 4),
          history: bench.output("history", TEXT_CAPACITY),
        });
        const record = (recorder: Recorder) => {
          for (let round = 0; round < ROUNDS; round++) {
            plan.dispatch(recorder, planGroup);
            // Drafts in all rows that the round may use, as select_draft leaves them.
            for (let i = 0; i < settings.draftLength; i++) {
              recorder.copy(allDrafts, (round * ROW_CAPACITY + i) * 4, rowsBuffer, (i + 1) * ROW_BYTES, 4);
            }
            recorder.copy(allTargets, round * ROW_CAPACITY * 4, targetBuffer, 0, ROW_CAPACITY * 4);
            accept.dispatch(recorder, acceptGroup, rowSet(RANGE_VERIFY, ROW_CAPACITY));
            recorder.copy(report, 0, allReports, round * REPORT_BYTES, REPORT_BYTES);
          }
        };
        const [reports, finalState] = await bench.run(record, allReports, states);
        bench.release();

        let expected: State = start;
        for (let round = 0; round < ROUNDS; round++) {
          const words = reports.slice((round * REPORT_BYTES) / 4, ((round + 1) * REPORT_BYTES) / 4);
          const what = `generation ${generation}, round ${round}, ${JSON.stringify(settings)}`;
          if (expected.finished !== RUNNING) {
            const nothing = { drafted: 0, accepted: 0, ids: [], draftIds: [], finished: expected.finished };
            expect(decodeReport(words.buffer), what).toMatchObject(nothing);
            continue;
          }
          const d = draftLengthOf(settings, expected);
          const verified = targets[round]!.slice(0, d + 1);
          const result = acceptRound(settings, expected, expected.length, drafts[round]!.slice(0, d), verified);
          expect(decodeReport(words.buffer), what).toEqual(result.report);
          expected = result.state;
        }
        expect(stateOf(finalState)).toEqual(expected);
        expect(expected.emitted).toBeLessThanOrEqual(settings.maxTokens);
        expect(expected.length).toBeLessThan(settings.contextLength);
      }
    }),
  );
});
