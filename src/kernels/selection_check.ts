/**
 * The self-check of selection: the best of a row's candidates, as a target and as a draft. Of equal ones the lowest id wins,
 * whether a thread compares them or the workgroup; one that is no number wins against all and selects none.
 */

import type { Device } from "../gpu/device.ts";
import { NONE, ROW_BYTES } from "./constants.ts";
import { candidatesShape, SelectDraft, SelectTarget } from "./layer_skip.ts";
import { checkNumbers } from "./matmul_probe.ts";
import { chainOf, encodeRanges, encodeRows } from "./rows.ts";
import { firstDifference, requireRight, runTrial } from "./trial_run.ts";
import { singleBits } from "./weight_codec.ts";

/** Three a thread; the last threads have two or none. */
const CANDIDATES = 131;
/** The largest f32, which a logit that is no number is passed on as. */
const LARGEST = 3.4028234663852886e38;
/** What the targets hold before. */
const BEFORE = 7777;

/** Words of a row. */
const ROW_WORDS = ROW_BYTES / 4;

/** Where a row's best logits stand, all equal, and their ids; the others' are lower. */
type Bests = Record<number, number>;

const ROWS: readonly Bests[] = [
  { 5: 900 }, // before the range
  { 130: 901 }, // the last
  { 0: 902 }, // the first
  { 60: 905, 61: 904, 62: 903 }, // of one thread
  { 0: 909, 40: 908, 129: 907 }, // of three
  { 2: 910, 3: 911 }, // of neighbours, the lower one first
  { 70: NONE, 71: 3 }, // no number, and the largest there is
  { 5: 912 }, // behind it
];
const isNone = (bests: Bests) => Object.values(bests).includes(NONE);
const EXPECTED = ROWS.map((bests) => (isNone(bests) ? NONE : Math.min(...Object.values(bests))));

const RANGE = { first: 1, count: 6 };
/** The drafts that are tried: rows of two texts side by side, and one alone. */
const DRAFT_RANGES = [
  { first: 3, count: 2 },
  { first: 6, count: 1 },
];
const DRAFTS = [3, 4, 6];

/** @throws GpuError when a selection cannot be compiled or chooses wrong on this device */
export async function checkSelection(device: Device): Promise<void> {
  const [selectTarget, selectDraft] = [new SelectTarget(device), new SelectDraft(device)];
  await Promise.all([selectTarget.prepare(), selectDraft.prepare()]);
  const table = encodeRows(chainOf(Array<number>(ROWS.length).fill(BEFORE), 0));
  const [targets, rows] = await runTrial(device, "selection check", ({ recorder, storage, uniform }) => {
    const shared = {
      range: uniform("ranges", encodeRanges([RANGE, ...DRAFT_RANGES])),
      shape: uniform("shape", candidatesShape(CANDIDATES)),
      candidates: storage("candidates", candidates()),
    };
    const targets = storage("targets", new Uint32Array(ROWS.length).fill(BEFORE));
    const rows = storage("rows", table);
    const targetGroup = selectTarget.bind({ ...shared, targets });
    const draftGroup = selectDraft.bind({ ...shared, rows });
    selectTarget.dispatch(recorder, targetGroup, { range: 0, count: RANGE.count + 1, end: 0 });
    for (const i of DRAFT_RANGES.keys()) {
      selectDraft.dispatch(recorder, draftGroup, { range: 1 + i, count: 2, end: 0 });
    }
    return [targets, rows];
  });
  const inRange = (row: number) => row >= RANGE.first && row < RANGE.first + RANGE.count;
  const expectedTargets = EXPECTED.map((id, row) => (inRange(row) ? id : BEFORE));
  requireRight(
    selectTarget.name,
    firstDifference(targets!, expectedTargets, (row) => `id after row ${row}`),
  );
  const expectedRows = table.slice();
  for (const row of DRAFTS) expectedRows[(row + 1) * ROW_WORDS] = EXPECTED[row]!;
  requireRight(
    selectDraft.name,
    firstDifference(rows!, expectedRows, (i) => `row ${Math.floor(i / ROW_WORDS)}, word ${i % ROW_WORDS}`),
  );
}

/** `[rows][CANDIDATES]` of (logit, id). */
function candidates(): Uint32Array<ArrayBuffer> {
  const random = checkNumbers();
  return Uint32Array.from(
    ROWS.flatMap((bests) =>
      Array.from({ length: CANDIDATES }, (_, i) => {
        const logit = !(i in bests) ? -2 - random() : isNone(bests) ? LARGEST : -1;
        return [singleBits(logit), bests[i] ?? i];
      }).flat(),
    ),
  );
}
