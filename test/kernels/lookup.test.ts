/** Prompt lookup: the proposal is that of a plain function, on texts that repeat themselves in many ways. */

import { describe, expect, test } from "vitest";
import { PROPOSAL_CAPACITY, PROPOSED, RUNNING, WORKGROUP } from "../../src/kernels/constants.ts";
import { Lookup, PROPOSAL_BYTES } from "../../src/kernels/drafting.ts";
import { encodeSettings } from "../../src/kernels/layer_skip.ts";
import { type Random, seeded } from "../reference/random.ts";
import { openBench, poisoned } from "./harness.ts";

const bench = openBench();

/** Places that propose, the longest match that is told from longer ones, and the least probable node. */
const [PLACES, LONGEST, LEAST] = [4, 16, 0.06];

/**
 * Products this near to each other may come in either order: WGSL lets a division be off by 2.5 units of the last place, and a
 * product has at most 46 factors. Others that this kernel can meet lie further apart, and further from `LEAST`.
 */
const NEAR = 1e-5;

interface Node {
  token: number;
  parent: number;
}

/** How many tokens up to `place` are the text's last ones, as far as that counts. */
function matched(text: readonly number[], place: number): number {
  let length = 0;
  while (length < LONGEST && length <= place && text[place - length] === text[text.length - 1 - length]) length++;
  return length;
}

/**
 * What lookup.wgsl does, as a plain function.
 * @param told which node comes first of those that are as good as equally probable: the one that is told; else the longer match's
 */
function lookedUp(text: readonly number[], treeSize: number, told: readonly Node[]): Node[] {
  const paths = Array.from({ length: text.length - 1 }, (_, place) => ({ place, length: matched(text, place) }))
    .filter(({ length }) => length > 0)
    .sort((a, b) => b.length - a.length || b.place - a.place)
    .slice(0, PLACES)
    .map(({ place, length }, i) => {
      const right = length / (length + 1);
      return { following: text.slice(place + 1), right, probability: right / (i + 1), parent: 0 };
    });
  const nodes: Node[] = [];
  while (nodes.length < Math.min(2 * treeSize, PROPOSAL_CAPACITY)) {
    const most = Math.max(0, ...paths.map(({ probability }) => probability));
    if (most < LEAST) break;
    const best = paths.filter(({ probability }) => probability >= most * (1 - NEAR));
    const path =
      best.find(({ following: [token], parent }) => {
        const next = told[nodes.length];
        return next?.token === token && next?.parent === parent;
      }) ?? best[0]!;
    const token = path.following.shift()!;
    // What it has proposed follows the text's end, again and again.
    path.following.push(token);
    path.parent = PROPOSED + nodes.push({ token, parent: path.parent }) - 1;
    path.probability *= path.right;
  }
  return nodes;
}

/** What the kernel proposes for a text whose last token is pending. */
async function lookUp(text: readonly number[], treeSize: number): Promise<Node[]> {
  const kernel = new Lookup(bench.device);
  await kernel.prepare();
  const settings = { draftLength: 0, treeSize, vocabSize: 0, maxTokens: 50, contextLength: 40, eosTokenIds: [3] };
  const length = text.length - 1;
  const proposal = bench.output("proposal", PROPOSAL_BYTES / 4);
  const group = kernel.bind({
    settings: bench.uniform("settings", encodeSettings(settings)),
    state: bench.upload("state", Uint32Array.of(length, text[length]!, 7, RUNNING)),
    // The buffer is longer than the text.
    history: bench.upload("history", Uint32Array.from([...text, ...poisoned(40)])),
    proposal,
  });
  const [words] = await bench.run((recorder) => kernel.dispatch(recorder, group), proposal);
  bench.release();
  const count = words[0]!;
  expect(count).toBeLessThanOrEqual(PROPOSAL_CAPACITY);
  return Array.from({ length: count }, (_, i) => ({ token: words[2 + 2 * i]!, parent: words[3 + 2 * i]! }));
}

async function expectLookedUp(text: readonly number[], treeSize: number): Promise<Node[]> {
  const nodes = await lookUp(text, treeSize);
  expect(nodes, `${treeSize} rows, text ${text.join(" ")}`).toEqual(lookedUp(text, treeSize, nodes));
  return nodes;
}

describe("drafting/lookup, spelled out", () => {
  /** Nodes of a text in letters: the letter, and the number of the node that it continues, -1 for the pending token. */
  const proposed = async (letters: string, treeSize = 63) => {
    const nodes = await expectLookedUp(
      [...letters].map((letter) => letter.charCodeAt(0)),
      treeSize,
    );
    return nodes.map(({ token, parent }) => [String.fromCharCode(token), parent === 0 ? -1 : parent - PROPOSED]);
  };

  /** What may follow the pending token. */
  const rootsOf = (nodes: Awaited<ReturnType<typeof proposed>>) =>
    nodes.filter(([, parent]) => parent === -1).map(([letter]) => letter);

  test("what followed, and past the text's end what was proposed: 2/3, its square, ... down to 0.06", async () => {
    expect(await proposed("abcdab")).toEqual([
      ["c", -1],
      ["d", 0],
      ["a", 1],
      ["b", 2],
      ["c", 3],
      ["d", 4],
    ]);
  });

  test("two matches of one length: the later one first, the earlier with half its probability", async () => {
    expect(await proposed("abxabyab")).toEqual([
      ["y", -1], // 0.667
      ["a", 0], // 0.444
      ["x", -1], // 0.333
      ["b", 1], // 0.296
      ["a", 2], // 0.222
      ["y", 3], // 0.198
      ["b", 4], // 0.148
      ["a", 5], // 0.132
      ["y", 6], // 0.099
      ["b", 7], // 0.088
      ["a", 8], // 0.066
    ]);
  });

  test("a longer match before a later one", async () => {
    // "bca" is 3/4 alone; the "a" at the end of "xa" is 1/2, as the second 1/4.
    expect(await proposed("bcapxaqbca", 3)).toEqual([
      ["p", -1], // 0.75
      ["x", 0], // 0.56
      ["a", 1], // 0.42
      ["q", 2], // 0.32
      ["q", -1], // 0.25
      ["b", 3], // 0.24
    ]);
  });

  test("of equal products the better match's first", async () => {
    // Halves, which a division gets right on every device.
    expect(await proposed("axaya")).toEqual([
      ["y", -1], // 1/2
      ["a", 0], // 1/4
      ["x", -1], // 1/4
      ["y", 1], // 1/8
      ["a", 2],
      ["a", 3], // 1/16
      ["y", 4],
    ]);
  });

  test("four places propose, not the fifth", async () => {
    expect(rootsOf(await proposed("apaqarasata"))).toEqual(["t", "s", "r", "q"]);
  });

  test("matches of 16 and more are equal: the latest is first", async () => {
    const end = "abcdefghijklmnopqrst"; // 20
    const [first] = await proposed(`${end}1 ${end.slice(-17)}2 ${end}`);
    expect(first).toEqual(["2", -1]);
    const [longer] = await proposed(`${end}1 ${end.slice(-15)}2 ${end}`);
    expect(longer).toEqual(["1", -1]);
  });

  test("four places that one thread finds", async () => {
    const letters = Array.from({ length: WORKGROUP - 1 }, (_, i) => String.fromCharCode(500 + i)).join("");
    const nodes = await proposed([..."pqrstu"].map((letter) => letter + letters).join(""));
    expect(rootsOf(nodes)).toEqual(["u", "t", "s", "r"]);
  });

  test("nothing matches", async () => {
    expect(await proposed("abcdefg")).toEqual([]);
  });

  test("a text of one token, which is pending, and of two", async () => {
    expect(await proposed("a")).toEqual([]);
    expect(await proposed("ab")).toEqual([]);
    expect(await proposed("aa")).toEqual([-1, 0, 1, 2].map((parent) => ["a", parent])); // 1/2 ... 1/16
  });

  test("twice as many nodes as rows are wanted, and as many as a proposal holds", async () => {
    const text = "a".repeat(60);
    expect(await proposed(text, 0)).toHaveLength(0);
    expect(await proposed(text, 1)).toHaveLength(2);
    expect(await proposed(text, 16)).toHaveLength(32);
    expect(await proposed(text, 63)).toHaveLength(126);
    expect(await proposed(text, 1000)).toHaveLength(PROPOSAL_CAPACITY); // of 131 that are probable
  });
});

describe("drafting/lookup, random texts", () => {
  test(
    "of few ids, so that much matches",
    seeded(async (random) => {
      for (let i = 0; i < 250; i++) {
        const text = random.ints(random.int(1, random.pick([6, 70, 300])), 0, random.pick([0, 1, 2, 7, 40]));
        await expectLookedUp(text, anyTreeSize(random));
      }
    }),
  );

  test(
    "that are a period over and over, with some errors",
    seeded(async (random) => {
      for (let i = 0; i < 150; i++) {
        const longest = random.pick([4, 20, 90]);
        const period = random.ints(random.pick([WORKGROUP, random.int(1, longest)]), 0, random.pick([2, 1000]));
        const errors = random.pick([0, 0.01, 0.1]);
        const text = Array.from({ length: random.int(1, 400) }, (_, k) =>
          random.uniform() < errors ? random.int(0, 1000) : period[k % period.length]!,
        );
        await expectLookedUp(text, anyTreeSize(random));
      }
    }),
  );

  test(
    "that end as they were before, at places of any thread",
    seeded(async (random) => {
      for (let i = 0; i < 60; i++) {
        const text = Array.from({ length: random.int(100, 2000) }, (_, id) => 100 + id); // no id twice
        const end = random.ints(random.int(1, 25), 0, 99);
        for (let copies = random.int(1, 7); copies > 0; copies--) {
          const part = end.slice(random.int(0, end.length - 1));
          text.splice(random.int(0, text.length - part.length), part.length, ...part);
        }
        await expectLookedUp([...text, ...end], anyTreeSize(random));
      }
    }),
  );

  test(
    "of different ids",
    seeded(async (random) => {
      const text = Array.from({ length: random.int(1, 500) }, (_, i) => 7 * i);
      expect(await expectLookedUp(text, 63)).toEqual([]);
    }),
  );
});

function anyTreeSize(random: Random): number {
  return random.pick([0, 1, 4, 16, 63, 63, 1000]);
}
