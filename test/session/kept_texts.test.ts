/**
 * Which keys and values are reused: on the host alone, with a cache that holds in each slot what it was computed from. A slot is
 * right if it is of the very tokens that stand before it in the text.
 */

import { describe, expect, test } from "vitest";
import type { Forward } from "../../src/forward/forward.ts";
import { KvPages, pagesFor } from "../../src/forward/kv_pages.ts";
import { PAGE_SLOTS } from "../../src/kernels/constants.ts";
import { KeptTexts, type OpenText } from "../../src/session/kept_texts.ts";
import type { Transcript } from "../../src/types.ts";
import { type Random, seeded } from "../reference/random.ts";

/** A cache of `pages` pages without a GPU. */
function hostCache(pages: number) {
  const slots: string[] = Array.from({ length: pages * PAGE_SLOTS }, () => "never written");
  const table: number[] = [];
  const free = new KvPages(pages);
  const texts = new KeptTexts(free, {
    use: (_, given, from) => void table.splice(from, given.length, ...given),
    copy: (from, to, count) => {
      for (let i = 0; i < count; i++) slots[to * PAGE_SLOTS + i] = slots[from * PAGE_SLOTS + i]!;
    },
  });
  const slotOf = (position: number) => table[Math.floor(position / PAGE_SLOTS)]! * PAGE_SLOTS + (position % PAGE_SLOTS);
  /** What the keys and values of a token are made of. */
  const madeOf = ({ ids }: Transcript, text: OpenText, end: number) =>
    ids.slice(0, end).map((id, i) => `${id}${text.isGenerated(i) ? "g" : "p"}`).join(" "); // biome-ignore format: short
  /** Computes a text as far as it is not there, and `emitted` behind it. */
  const run = (transcript: Transcript, emitted: readonly number[], most = transcript.ids.length - 1) => {
    const text = texts.open(transcript, most, pages * PAGE_SLOTS);
    const whole = { ids: [...transcript.ids, ...emitted], generated: transcript.generated };
    for (let at = 0; at < text.reused; at++) expect(slots[slotOf(at)]).toBe(madeOf(whole, text, at + 1));
    for (let at = text.reused; at < whole.ids.length; at++) {
      text.reserve(at + 1);
      slots[slotOf(at)] = madeOf(whole, text, at + 1);
    }
    for (let at = 0; at < whole.ids.length; at++) expect(slots[slotOf(at)]).toBe(madeOf(whole, text, at + 1));
    return text;
  };
  return { texts, run, free };
}

const prompt = (...ids: number[]): Transcript => ({ ids, generated: [] });
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

describe("what is reused", () => {
  test("all of a text that goes on, whatever page it ends in", () => {
    for (const length of [1, 63, 64, 65, 200]) {
      const { run, texts } = hostCache(8);
      run(prompt(...range(0, length)), []).keep([], []);
      const text = run(prompt(...range(0, length + 5)), [7, 8]);
      expect(text.reused).toBe(length);
      text.keep([7, 8], []);
      expect(texts.use).toMatchObject({ texts: 1, tokens: pagesFor(length + 7) * PAGE_SLOTS });
    }
  });

  test("the beginning of one that parts, and both go on", () => {
    const { run, texts } = hostCache(8);
    run(prompt(...range(0, 150)), []).keep([], []);
    const branch = [...range(0, 100), ...range(500, 560)];
    const text = run(prompt(...branch), []);
    expect(text.reused).toBe(100);
    text.keep([], []);
    // One page is both's, and each has two of its own.
    expect(texts.use).toMatchObject({ texts: 2, tokens: 5 * PAGE_SLOTS });
    expect(run(prompt(...range(0, 151)), []).reused).toBe(150);
  });

  test("a token is the same only where the same kernels computed it", () => {
    const { run } = hostCache(8);
    run(prompt(1, 2, 3), [4, 5]).keep([4, 5], []);
    const asPrompt = run(prompt(1, 2, 3, 4, 5, 6), []);
    expect(asPrompt.reused).toBe(3);
    asPrompt.release();
    expect(run({ ids: [1, 2, 3, 4, 5, 6], generated: [[3, 5]] }, []).reused).toBe(5);
  });

  test("no more than is asked for: the last token of a prompt is always computed", () => {
    const { run } = hostCache(8);
    run(prompt(1, 2, 3), []).keep([], []);
    expect(run(prompt(1, 2, 3), []).reused).toBe(2);
    expect(run(prompt(1, 2, 3), [], 0).reused).toBe(0);
  });

  test("the longest of several beginnings", () => {
    const { run } = hostCache(8);
    run(prompt(1, 2, 9), []).keep([], []);
    run(prompt(1, 2, 3, 4, 9), []).keep([], []);
    run(prompt(1, 2, 3, 9), []).keep([], []);
    expect(run(prompt(1, 2, 3, 4, 5), []).reused).toBe(4);
  });

  test("nothing of a text that was given up; all that it began with of one that was abandoned", () => {
    const { run, texts } = hostCache(8);
    run(prompt(...range(0, 100)), []).release();
    expect(texts.use).toMatchObject({ texts: 0, tokens: 0 });
    run(prompt(...range(0, 100)), []).keep([], []);
    const text = run(prompt(...range(0, 180)), []);
    text.abandon();
    text.release(); // a second end is none
    expect(texts.use).toMatchObject({ texts: 1, tokens: 2 * PAGE_SLOTS });
    expect(run(prompt(...range(0, 180)), []).reused).toBe(100);
  });

  test("second models have their own, as far as they have seen the text, and none of a page that was copied", () => {
    const { run } = hostCache(8);
    const model = {} as Forward;
    run(prompt(...range(0, 100)), [7]).keep([7], [model]);
    const whole = run({ ids: [...range(0, 100), 7, 8], generated: [[100, 101]] }, []);
    expect([whole.reused, whole.seenBy(model)]).toEqual([101, 100]);
    whole.keep([], []);
    const parted = run(prompt(...range(0, 90), 1), []);
    expect([parted.reused, parted.seenBy(model), parted.seenBy({} as Forward)]).toEqual([90, PAGE_SLOTS, 0]);
  });
});

describe("where there is no room", () => {
  test("the text that was used least recently loses its end", () => {
    const { run, texts } = hostCache(4);
    const a = range(0, 128);
    const b = range(1000, 1128);
    run(prompt(...a), []).keep([], []);
    run(prompt(...b), []).keep([], []);
    run(prompt(...a, 5), []).keep([], []); // takes a page of b's, since a has just been used
    expect(texts.use).toMatchObject({ texts: 2, tokens: 4 * PAGE_SLOTS });
    const again = run(prompt(...b), []);
    expect(again.reused).toBe(PAGE_SLOTS);
  });

  test("a branch may take the place of what it came from", () => {
    const { run, texts } = hostCache(2);
    run(prompt(...range(0, 128)), []).keep([], []);
    const text = run(prompt(...range(0, 100), ...range(500, 528)), []);
    expect(text.reused).toBe(100);
    text.keep([], []);
    expect(texts.use.tokens).toBe(2 * PAGE_SLOTS);
  });

  test("what is forgotten leaves nothing", () => {
    const { run, texts, free } = hostCache(8);
    for (let i = 0; i < 5; i++) run(prompt(...range(0, 70), i), []).keep([], []);
    texts.clear();
    expect(texts.use).toMatchObject({ texts: 0, tokens: 0 });
    expect(free.free).toBe(8);
  });
});

/** A text that has much in common with others: it follows one of few ways at each place. */
function randomTranscript(random: Random, length: number): Transcript {
  const ids: number[] = [];
  const generated: [number, number][] = [];
  while (ids.length < length) {
    const run = random.int(1, 60);
    const from = ids.length;
    const way = random.int(0, 2);
    for (let i = 0; i < run && ids.length < length; i++) ids.push(way * 10 + (from % 7));
    if (random.uniform() < 0.4) generated.push([from, ids.length]);
  }
  return { ids, generated };
}

test(
  "whatever texts come and go, each slot holds what belongs there, and no page is lost",
  seeded((random) => {
    for (let round = 0; round < 20; round++) {
      const pages = random.int(4, 12);
      const { run, texts, free } = hostCache(pages);
      const said: Transcript[] = [];
      for (let i = 0; i < 40; i++) {
        const room = pages * PAGE_SLOTS;
        const known = random.uniform() < 0.6 ? said[random.int(0, said.length - 1)] : undefined;
        const cut = known ? random.int(1, known.ids.length) : 0;
        const more = randomTranscript(random, random.int(1, 120));
        const transcript = known
          ? {
              ids: [...known.ids.slice(0, cut), ...more.ids].slice(0, room - 20),
              generated: known.generated.flatMap(([a, b]): [number, number][] =>
                Math.min(b, cut) > a ? [[a, Math.min(b, cut)]] : [],
              ),
            }
          : { ids: more.ids.slice(0, room - 20), generated: more.generated };
        const emitted = random.ints(random.int(0, 19), 100, 200);
        const text = run(transcript, emitted);
        const end = random.pick(["keep", "keep", "keep", "abandon", "release"] as const);
        if (end === "keep") text.keep(emitted, []);
        else text[end]();
        const { length } = transcript.ids;
        if (end === "keep") {
          const generated = [...transcript.generated, [length, length + emitted.length] as const];
          said.push({ ids: [...transcript.ids, ...emitted], generated });
        }
        expect(texts.use.tokens).toBeLessThanOrEqual(room);
      }
      texts.clear();
      expect(free.free).toBe(pages);
    }
  }),
);
