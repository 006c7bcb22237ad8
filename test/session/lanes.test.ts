/** Who may work on a model, without one. */

import { expect, test } from "vitest";
import { BusyError } from "../../src/errors.ts";
import { LANES } from "../../src/kernels/constants.ts";
import { type LaneRequest, Lanes, type TakenLane } from "../../src/session/lanes.ts";

const never = new AbortController().signal;
const small: LaneRequest = { pages: 1, alone: false };

/** Whether it has been decided by now. */
async function isOpen(taking: Promise<unknown>): Promise<boolean> {
  const open = Symbol("open");
  return (await Promise.race([taking, new Promise((resolve) => setTimeout(() => resolve(open)))])) === open;
}

test("lanes are given in order, and again when they are free", async () => {
  const lanes = new Lanes(100);
  const taken = await Promise.all(Array.from({ length: LANES }, () => lanes.take(small, never)));
  expect(taken.map((each) => each!.lane)).toEqual(Array.from({ length: LANES }, (_, i) => i));
  const next = lanes.take(small, never);
  expect(await isOpen(next)).toBe(true);
  taken[3]!.release();
  taken[3]!.release(); // a second time is none
  expect((await next)!.lane).toBe(3);
  expect(await isOpen(lanes.take(small, never))).toBe(true);
});

test("nobody is let past one who waits for more room; alone, any text has room", async () => {
  const lanes = new Lanes(10);
  const first = (await lanes.take({ pages: 6, alone: false }, never))!;
  const large = lanes.take({ pages: 8, alone: false }, never);
  const fitting = lanes.take({ pages: 2, alone: false }, never);
  expect([await isOpen(large), await isOpen(fitting)]).toEqual([true, true]);
  first.release();
  expect([(await large)!.lane, (await fitting)!.lane]).toEqual([0, 1]);
  const larger = lanes.take({ pages: 11, alone: false }, never);
  expect(await isOpen(larger)).toBe(true);
  for (const each of [(await large)!, (await fitting)!]) each.release();
  expect((await larger)!.lane).toBe(0);
});

test("one who works alone waits for the others, and they for it", async () => {
  const lanes = new Lanes(10);
  const first = (await lanes.take(small, never))!;
  const alone = lanes.take({ pages: 1, alone: true }, never);
  const after = lanes.take(small, never);
  expect([await isOpen(alone), await isOpen(after)]).toEqual([true, true]);
  first.release();
  const taken = (await alone)!;
  expect(await isOpen(after)).toBe(true);
  taken.release();
  expect((await after)!.lane).toBe(0);
});

test("what is no generation is alone at once, or not at all", async () => {
  const lanes = new Lanes(10);
  const release = lanes.takeAlone();
  expect(() => lanes.takeAlone()).toThrow(BusyError);
  const taking = lanes.take(small, never);
  expect(await isOpen(taking)).toBe(true);
  release();
  const { release: leave } = (await taking)!;
  expect(() => lanes.takeAlone()).toThrow(BusyError);
  leave();
  expect(lanes.busy).toBe(false);
  lanes.takeAlone();
});

test("one who gives up while waiting lets the others on", async () => {
  const lanes = new Lanes(10);
  const first = (await lanes.take({ pages: 5, alone: false }, never))!;
  const aborted = new AbortController();
  const large = lanes.take({ pages: 10, alone: false }, aborted.signal);
  const fitting = lanes.take({ pages: 5, alone: false }, never);
  expect(await isOpen(fitting)).toBe(true);
  aborted.abort();
  expect(await large).toBeUndefined();
  expect((await fitting)!.lane).toBe(1);
  expect(await lanes.take(small, aborted.signal)).toBeUndefined();
  first.release();
});

test("when it is closed, those who wait are told why, and those who come", async () => {
  const lanes = new Lanes(1);
  const taken: TakenLane = (await lanes.take(small, never))!;
  const waiting = lanes.take(small, never);
  const gone = new Error("gone");
  lanes.close(gone);
  await expect(waiting).rejects.toBe(gone);
  await expect(lanes.take(small, never)).rejects.toBe(gone);
  expect(() => lanes.takeAlone()).toThrow(gone);
  taken.release();
});

test("who waits for others who have all paused is refused; not while one of them works", async () => {
  const lanes = new Lanes(2, 50);
  const first = (await lanes.take(small, never))!;
  const second = (await lanes.take(small, never))!;
  const waiting = lanes.take(small, never);
  first.works(false);
  await new Promise((resolve) => setTimeout(resolve, 120));
  second.works(false);
  first.works(true);
  await new Promise((resolve) => setTimeout(resolve, 120));
  expect(await isOpen(waiting)).toBe(true);
  first.works(false);
  await expect(waiting).rejects.toThrow("a generation that nobody reads on holds what this one needs");
  await expect(waiting).rejects.toThrow(BusyError);
  first.release();
  expect((await lanes.take(small, never))!.lane).toBe(0);
});

test("what works alone is waited for, however long it takes", async () => {
  const lanes = new Lanes(2, 30);
  const release = lanes.takeAlone();
  const waiting = lanes.take(small, never);
  await new Promise((resolve) => setTimeout(resolve, 100));
  release();
  expect((await waiting)!.lane).toBe(0);
});
