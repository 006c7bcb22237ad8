/** Selection: head, first and second stage of the argmax, as targets and as drafts. */

import { describe, expect, test } from "vitest";
import { FAILED, NONE, ROW_BYTES, ROW_CAPACITY, RUNNING, WORKGROUP } from "../../src/kernels/constants.ts";
import { FewRowMatmul } from "../../src/kernels/few_row_matmul.ts";
import {
  type FewRowVariant,
  fewRowGroups,
  outputsPerThread,
  THREAD_VARIANT,
} from "../../src/kernels/few_row_variant.ts";
import {
  Accept,
  candidatesShape,
  decodeReport,
  encodeSettings,
  PATH_BYTES,
  REPORT_BYTES,
  type Report,
  SelectDraft,
  SelectTarget,
} from "../../src/kernels/layer_skip.ts";
import { spreadOf } from "../../src/kernels/matmul_form.ts";
import { pagesInOrder } from "../../src/kernels/rows.ts";
import { paddedSize } from "../../src/kernels/weight_format.ts";
import { type ColumnRun, columnRuns } from "../../src/weights/column_runs.ts";
import { argmax } from "../reference/ops.ts";
import { type Random, seeded } from "../reference/random.ts";
import { bits, interleaved, openBench, POISON, poisoned, rowSet } from "./harness.ts";

const bench = openBench();

/** Words of a row. */
const ROW_WORDS = ROW_BYTES / 4;

const F32 = { type: "f32" } as const;

/** Vocabularies of one matrix, and one of several. */
const VOCABULARIES = [1, 64, 65, 512, 49152, 262_144];

/** Rows that the head takes at a time: several slabs of most tests' rows. */
const BUCKET = 8;

/** The matrices of a head over the vocabulary. */
function partsOf(vocabSize: number): ColumnRun[] {
  return columnRuns(F32, 32, vocabSize, 8 << 20); // what binds 65,536 ids of 32 numbers
}

/** The numbers that a kernel chooses from, and the two that are none. */
type Logits = Float32Array<ArrayBuffer>;

/**
 * Scores rows of logits with the head and selects, both ways: as targets, and each as a draft. The logits come out of the
 * head exactly: row r is 2 in its own two input components and 0 elsewhere, and its logits are halved there.
 */
async function select(
  rows: readonly Logits[],
  variant: FewRowVariant = THREAD_VARIANT,
): Promise<{ targets: number[]; drafts: number[]; fail: Report }> {
  const vocabSize = rows[0]!.length;
  const K = 4 * Math.ceil(rows.length / 2);
  const stride = paddedSize(K);
  const weight = new Float32Array(vocabSize * K);
  const input = new Float32Array(ROW_CAPACITY * stride);
  for (const [r, logits] of rows.entries()) {
    input.fill(2, r * stride + 2 * r, r * stride + 2 * r + 2);
    for (const [id, logit] of logits.entries()) {
      // Infinities and NaN must not stand in the weights: they would reach the other rows. 2 * 3e38 overflows.
      if (Number.isFinite(logit)) {
        weight[id * K + 2 * r] = logit / 2;
      } else {
        weight.set(Number.isNaN(logit) ? [3e38, -3e38] : [Math.sign(logit) * 3e38, 0], id * K + 2 * r);
      }
    }
  }
  const head = new FewRowMatmul(bench.device, { form: "headArgmax", format: F32 }, variant);
  const [selectTarget, selectDraft] = [new SelectTarget(bench.device), new SelectDraft(bench.device)];
  const acceptKernel = new Accept(bench.device);
  const kernels = [head.kernel(BUCKET), selectTarget, selectDraft, acceptKernel];
  await Promise.all(kernels.map((kernel) => kernel.prepare()));

  const count = rows.length;
  const parts = partsOf(vocabSize).map((run) => ({ ...run, groups: fewRowGroups("headArgmax", run.count, variant) }));
  const candidatesPerRow = parts.reduce((sum, { groups }) => sum + groups, 0);
  // Range 0 is all rows, range 1 + r row r.
  const range = bench.ranges({ first: 0, count }, ...rows.map((_, r) => ({ first: r, count: 1 })));
  const candidates = bench.output("candidates", ROW_CAPACITY * candidatesPerRow * 2);
  const shape = bench.uniform("candidates shape", candidatesShape(candidatesPerRow));
  const targets = bench.output("targets", ROW_CAPACITY);
  const table = bench.rows(
    Array.from({ length: ROW_CAPACITY }, (_, i) => ({ token: POISON, position: i, parent: i === 0 ? NONE : i - 1 })),
  );
  const state = bench.upload("state", Uint32Array.of(0, 0, 0, RUNNING));
  const report = bench.output("report", REPORT_BYTES / 4);
  const settings = { draftLength: 0, maxTokens: 1000, contextLength: 1000, eosTokenIds: [] };
  const shared = { range, input: bench.upload("input", input), scales: bench.output("no scales", 1), candidates };
  let resultOffset = 0;
  const bound = parts.map((part) => {
    const size = { inputSize: K, outputs: part.count, resultStride: candidatesPerRow, resultOffset };
    resultOffset += part.groups;
    const columns = weight.subarray(part.first * K, (part.first + part.count) * K);
    const own = {
      shape: bench.uniform("head shape", head.shape({ ...size, firstId: part.first })),
      weight: bench.upload("weight", interleaved(columns, part.count, K)),
    };
    return head.bind({ ...shared, ...own }, part.count);
  });
  const targetGroup = selectTarget.bind({ range, shape, candidates, targets });
  const draftGroup = selectDraft.bind({ range, shape, candidates, rows: table });
  const acceptGroup = acceptKernel.bind({
    range,
    settings: bench.uniform("settings", encodeSettings(settings)),
    rows: table,
    targets,
    ...{ state, report },
    pages: bench.upload("pages", pagesInOrder(1000)),
    path: bench.output("path", PATH_BYTES / 4),
    history: bench.output("history", 1000),
  });
  const [targetWords, tableWords, reportWords] = await bench.run(
    (recorder) => {
      for (const part of bound) head.record(recorder, part, rowSet(0, count));
      selectTarget.dispatch(recorder, targetGroup, rowSet(0, Math.min(ROW_CAPACITY, count + 1)));
      for (const r of rows.keys()) selectDraft.dispatch(recorder, draftGroup, rowSet(1 + r, 1));
      acceptKernel.dispatch(recorder, acceptGroup, rowSet(0, count));
    },
    targets,
    table,
    report,
  );
  bench.release();
  for (let r = count; r < ROW_CAPACITY; r++)
    expect(targetWords[r], `target of row ${r}, outside the range`).toBe(POISON);
  for (let r = 0; r < ROW_CAPACITY; r++) {
    const [token, ...rest] = tableWords.subarray(r * ROW_WORDS, (r + 1) * ROW_WORDS);
    expect(rest, `row ${r} but for its token`).toEqual([r, r, r === 0 ? NONE : r - 1, 0, 0, r + 1]);
    if (r === 0 || r > count) expect(token, `token of row ${r}, which follows no row of the range`).toBe(POISON);
  }
  return {
    targets: [...targetWords.subarray(0, count)],
    drafts: rows.map((_, r) => tableWords[(r + 1) * ROW_WORDS]!),
    fail: decodeReport(reportWords.buffer),
  };
}

/** 0 to count - 1 in no order (Fisher and Yates). */
function shuffled(random: Random, count: number): number[] {
  const all = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = random.int(0, i);
    [all[i], all[j]] = [all[j]!, all[i]!];
  }
  return all;
}

describe("layer_skip/select_draft and select_target", () => {
  /** Logits of -1 with ties of 1 at the given ids. */
  const tied = (vocabSize: number, ...ids: number[]): Logits => {
    const logits = new Float32Array(vocabSize).fill(-1);
    for (const id of ids) logits[id] = 1;
    return logits;
  };

  /** Rows of every kind, ties at all stages among them. */
  function rowsOf(random: Random, vocabSize: number, { slices }: FewRowVariant): Logits[] {
    const last = vocabSize - 1;
    const any = () => random.int(0, last);
    const clamp = (id: number) => Math.min(last, id);
    const parts = partsOf(vocabSize);
    const { first, count } = parts[random.int(0, parts.length - 1)]!;
    // Ids of neighbouring threads of the head, the distance of a thread's own, and where a workgroup's threads end.
    const distance = spreadOf(count, outputsPerThread("headArgmax"));
    const id = first + random.int(0, distance - 1);
    const edge = first + (WORKGROUP / slices) * random.int(1, Math.ceil((distance * slices) / WORKGROUP));
    return [
      new Float32Array(vocabSize).fill(0),
      new Float32Array(vocabSize).fill(-7),
      Float32Array.from({ length: vocabSize }, () => random.int(-2, 2)),
      random.normals(vocabSize, 10),
      tied(vocabSize, last),
      tied(vocabSize, 0, last),
      tied(vocabSize, any(), any(), any()),
      tied(vocabSize, clamp(id), clamp(id + 1)), // of two threads
      tied(vocabSize, clamp(id + 3 * distance), clamp(id + distance)), // of one thread
      tied(vocabSize, clamp(id + 2 * distance), clamp(id + 1)), // the lower one of a thread further on
      tied(vocabSize, clamp(edge - 1), clamp(edge)), // across workgroups
      tied(vocabSize, clamp(edge - 1 + distance), clamp(edge)), // the lower one of a workgroup further on
      tied(vocabSize, Math.max(0, first - 1), first), // across parts
      Float32Array.from({ length: vocabSize }, (_, id) => id), // ever larger
      Float32Array.from({ length: vocabSize }, (_, id) => -id),
    ];
  }

  test.each(VOCABULARIES)("the largest logit wins, the lowest id of a tie at every stage, vocabulary %i", (vocabSize) =>
    seeded(async (random) => {
      const rows = rowsOf(random, vocabSize, THREAD_VARIANT);
      const expected = rows.map(argmax);
      const { targets, drafts } = await select(rows);
      expect(targets).toEqual(expected);
      expect(drafts).toEqual(expected);
    })(),
  );

  test(
    "the same of the many more candidates that there are where threads share an output",
    seeded(async (random) => {
      const variant = { kind: "workgroup", slices: 8 } as const;
      // Every second one: a slab of them.
      const odd = random.int(0, 1);
      const rows = rowsOf(random, 262_144, variant).filter((_, i) => i % 2 === odd);
      const { targets } = await select(rows, variant);
      expect(targets).toEqual(rows.map(argmax));
    }),
  );

  test.each(VOCABULARIES)(
    "one logit that is no finite number selects none and fails the round, vocabulary %i",
    (vocabSize) =>
      seeded(async (random) => {
        const id = random.int(0, vocabSize - 1);
        const last = vocabSize - 1;
        const rows = [
          random.normals(vocabSize),
          random.normals(vocabSize).fill(NaN, id, id + 1),
          random.normals(vocabSize).fill(Infinity, id, id + 1),
          random.normals(vocabSize).fill(-Infinity, id, id + 1),
          random.normals(vocabSize).fill(NaN, last),
          random.normals(vocabSize).fill(NaN, 0, 1),
          new Float32Array(vocabSize).fill(-Infinity),
          random.normals(vocabSize),
        ];
        const { targets, drafts } = await select(rows);
        const [first, lastOne] = [argmax(rows[0]!), argmax(rows.at(-1)!)];
        const expected = [first, ...Array(rows.length - 2).fill(NONE), lastOne];
        expect(targets).toEqual(expected);
        expect(drafts).toEqual(expected);
        // Row 1 was drafted by row 0 and agrees; the target after it is none.
        const { fail } = await select([rows[0]!, rows[1]!, rows[7]!]);
        expect(fail).toMatchObject({ drafted: 2, accepted: 1, ids: [first], finished: FAILED });
      })(),
  );

  test(
    "the best of any candidates, of equal ones the lowest id in whatever order they stand, whatever is behind the row's own",
    seeded(async (random) => {
      const [selectTarget, selectDraft] = [new SelectTarget(bench.device), new SelectDraft(bench.device)];
      await Promise.all([selectTarget.prepare(), selectDraft.prepare()]);
      for (const count of [1, 2, 63, 64, 65, 128, 129, 768, 1000]) {
        const words = poisoned(ROW_CAPACITY * count * 2);
        const first = random.int(0, 20);
        const expected: number[] = [];
        for (let r = first; r < first + 10; r++) {
          const levels = random.pick([0, 1, 1000]);
          const ids = shuffled(random, count).map((id) => id * 3 + 5);
          const row = ids.map((id) => ({ id, logit: random.int(-levels, levels) }));
          // What the head says of a logit that is no finite number.
          if (random.uniform() < 0.2) row[random.int(0, count - 1)] = { id: NONE, logit: 3.4028234e38 };
          for (const [c, { id, logit }] of row.entries()) {
            words.set([bits(Float32Array.of(logit))[0]!, id], (r * count + c) * 2);
          }
          const best = Math.max(...row.map(({ logit }) => logit));
          const equal = row.filter(({ logit }) => logit === best).map(({ id }) => id);
          expected.push(Math.min(...equal));
        }
        const range = bench.ranges({ first, count: 10 }, { first, count: 3 }, { first, count: 0 });
        const shape = bench.uniform("shape", candidatesShape(count));
        const candidates = bench.upload("candidates", words);
        const targets = bench.output("targets", ROW_CAPACITY);
        // Drafts of rows that others continue, two of one text and one of nobody.
        const children: Record<number, number> = { [first]: first + 10, [first + 1]: first + 12, [first + 2]: NONE };
        const table = Array.from({ length: ROW_CAPACITY }, (_, r) => ({ token: POISON, child: children[r] ?? NONE }));
        const rows = bench.rows(table);
        const targetGroup = selectTarget.bind({ range, shape, candidates, targets });
        const draftGroup = selectDraft.bind({ range, shape, candidates, rows });
        const [targetWords, rowsWords] = await bench.run(
          (recorder) => {
            selectTarget.dispatch(recorder, targetGroup, rowSet(0, 11));
            selectDraft.dispatch(recorder, draftGroup, rowSet(1, 4));
          },
          targets,
          rows,
        );
        const expectedTargets = poisoned(ROW_CAPACITY);
        expectedTargets.set(expected, first);
        expect(targetWords, `${count} candidates`).toEqual(expectedTargets);
        const tokens = Array.from({ length: ROW_CAPACITY }, (_, r) => rowsWords[r * ROW_WORDS]!);
        const expectedTokens = Array<number>(ROW_CAPACITY).fill(POISON);
        expectedTokens[first + 10] = expected[0]!;
        expectedTokens[first + 12] = expected[1]!;
        expect(tokens, `${count} candidates`).toEqual(expectedTokens);
        const [untouched, untouchedRows] = [
          bench.output("targets", ROW_CAPACITY),
          bench.output("rows", ROW_CAPACITY * ROW_WORDS),
        ];
        const emptyTarget = selectTarget.bind({ range, shape, candidates, targets: untouched });
        const emptyDraft = selectDraft.bind({ range, shape, candidates, rows: untouchedRows });
        const [noTargets, noRows] = await bench.run(
          (recorder) => {
            selectTarget.dispatch(recorder, emptyTarget, rowSet(2, 2));
            selectDraft.dispatch(recorder, emptyDraft, rowSet(2, 1));
          },
          untouched,
          untouchedRows,
        );
        expect(
          [...noTargets, ...noRows].every((word) => word === POISON),
          "an empty range",
        ).toBe(true);
        bench.release();
      }
    }),
  );
});
