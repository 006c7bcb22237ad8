/**
 * The self-check of what learns followers: the ids of the largest logits in order, as the greedy choice and as what is kept. Of
 * equal logits the lowest id comes first; logits that are not all finite choose none and teach nothing.
 */

import type { Device } from "../gpu/device.ts";
import { FOLLOWERS, NONE } from "./constants.ts";
import { TopIds } from "./drafting.ts";
import { checkNumbers } from "./matmul_probe.ts";
import { chainOf, encodeRanges, encodeRows } from "./rows.ts";
import { firstDifference, requireRight, runTrial } from "./trial_run.ts";

/** More than threads, and no multiple of them. */
const IDS = 611;
/** What targets and followers hold before. */
const BEFORE = 7777;
/** The tokens of the rows; the first row is before the range, the fourth repeats the third. */
const TOKENS = [0, 1, 5, 5, IDS - 1];
const RANGE = { first: 1, count: 4 };
/** The row with a logit that is no number. */
const NOT_FINITE_ROW = 4;

/** @throws GpuError when it cannot be compiled or computes wrong on this device */
export async function checkTopIds(device: Device): Promise<void> {
  const kernel = new TopIds(device);
  await kernel.prepare();
  const logits = randomLogits();
  const [targets, followers] = await runTrial(device, "top ids check", ({ recorder, storage, uniform }) => {
    const read = {
      followers: storage("followers", new Uint32Array(IDS * FOLLOWERS).fill(BEFORE)),
      targets: storage("targets", new Uint32Array(TOKENS.length).fill(BEFORE)),
    };
    const group = kernel.bind({
      range: uniform("range", encodeRanges([RANGE])),
      shape: uniform("shape", new Uint32Array([IDS, 0, 0, 0])),
      rows: storage("rows", encodeRows(chainOf(TOKENS, 0))),
      logits: storage("logits", logits),
      ...read,
    });
    kernel.dispatch(recorder, group, { range: 0, count: RANGE.count, end: 0 });
    return [read.targets, read.followers];
  });

  const expectedTargets = new Uint32Array(TOKENS.length).fill(BEFORE);
  const expected = new Uint32Array(IDS * FOLLOWERS).fill(BEFORE);
  for (let row = RANGE.first; row < TOKENS.length; row++) {
    const best = largest(logits.subarray(row * IDS, (row + 1) * IDS));
    expectedTargets[row] = row === NOT_FINITE_ROW ? NONE : best[0]!;
    const isFirst = TOKENS.indexOf(TOKENS[row]!) === row;
    if (row !== NOT_FINITE_ROW && isFirst) expected.set(best, TOKENS[row]! * FOLLOWERS);
  }
  const nameOfFollower = (i: number) => `follower ${i % FOLLOWERS} of token ${Math.floor(i / FOLLOWERS)}`;
  requireRight(
    kernel.name,
    firstDifference(targets!, expectedTargets, (row) => `id after row ${row}`),
  );
  requireRight(kernel.name, firstDifference(followers!, expected, nameOfFollower));
}

/** `[rows][IDS]`, with ties among the largest: of one thread's ids, of neighbours' and far apart. */
function randomLogits(): Float32Array<ArrayBuffer> {
  const random = checkNumbers();
  const logits = Float32Array.from({ length: TOKENS.length * IDS }, () => 8 * random() - 4);
  for (let row = 0; row < TOKENS.length; row++) {
    for (const id of [3, 4, 300, 300 + 256, 610]) logits[row * IDS + ((id + row) % IDS)] = 5;
  }
  logits[NOT_FINITE_ROW * IDS + 17] = Number.NaN;
  return logits;
}

function largest(logits: Float32Array): number[] {
  const ids = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
  return ids.slice(0, FOLLOWERS);
}
