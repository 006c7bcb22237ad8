/** Token Recycling: what rows teach (top_ids.wgsl), the shape of the tree, and the tree of what was learnt (recycle.wgsl). */

import { describe, expect, test } from "vitest";
import { treeTemplate } from "../../src/decode/drafters/tree_template.ts";
import {
  FILTER_THREADS,
  FOLLOWERS,
  MAX_TREE_SIZE,
  NONE,
  PROPOSED,
  RANGE_BYTES,
  RANGE_COUNT,
  RANGE_VERIFY,
  ROW_BYTES,
  ROW_CAPACITY,
  WORKGROUP,
} from "../../src/kernels/constants.ts";
import {
  encodeTemplate,
  PROPOSAL_BYTES,
  type ProposedNode,
  Recycle,
  type TemplateNode,
  TopIds,
} from "../../src/kernels/drafting.ts";
import { type Random, seeded } from "../reference/random.ts";
import { expectSameBits, openBench, poisoned, type Range, rowSet, type Words } from "./harness.ts";
import { altered } from "./miscompile.ts";

const bench = openBench();

/** A round's last row, what is known of followers, and a tree of them. */
interface Recycling {
  template: readonly TemplateNode[];
  /** Of each id of a vocabulary. */
  followers: readonly (readonly number[])[];
  /** The tokens of the round's rows. */
  chain: readonly number[];
}

/** What recycle.wgsl does, as a plain function. */
function recycled({ template, followers, chain }: Recycling): ProposedNode[] {
  const tokens: number[] = [];
  for (const { parent, rank } of template) {
    const before = parent === -1 ? chain.at(-1)! : tokens[parent]!;
    tokens.push(followers[before]?.[rank] ?? NONE);
  }
  return template.map(({ parent }, i) => ({
    token: tokens[i]!,
    parent: parent === -1 ? chain.length - 1 : PROPOSED + parent,
  }));
}

/** @param count of rows that the round has; not the chain's where it has none */
async function recycle({ template, followers, chain }: Recycling, count = chain.length): Promise<ProposedNode[]> {
  const kernel = new Recycle(bench.device);
  await kernel.prepare();
  const rows = poisoned((ROW_CAPACITY * ROW_BYTES) / 4);
  for (const [row, token] of chain.entries()) rows[(row * ROW_BYTES) / 4] = token;
  const ranges = poisoned((RANGE_COUNT * RANGE_BYTES) / 4);
  ranges.set([0, count], (RANGE_VERIFY * RANGE_BYTES) / 4);
  const proposal = bench.output("proposal", PROPOSAL_BYTES / 4);
  const group = kernel.bind({
    shape: bench.uniform("template", encodeTemplate(template)),
    followers: bench.upload("followers", Uint32Array.from(followers.flat())),
    rows: bench.upload("rows", rows),
    ranges: bench.upload("ranges", ranges),
    proposal,
  });
  const [words] = await bench.run((recorder) => kernel.dispatch(recorder, group), proposal);
  bench.release();
  return Array.from({ length: words[0]! }, (_, i) => ({ token: words[2 + 2 * i]!, parent: words[3 + 2 * i]! }));
}

async function expectRecycled(recycling: Recycling): Promise<ProposedNode[]> {
  const nodes = await recycle(recycling);
  expect(nodes).toEqual(recycled(recycling));
  return nodes;
}

/** Followers of each id: mostly ids, some holes. */
function anyFollowers(random: Random, vocabSize = random.pick([1, 3, 30, 500])): number[][] {
  const holes = random.pick([0, 0.1, 0.5]);
  const follower = () => (random.uniform() < holes ? NONE : random.int(0, vocabSize - 1));
  return Array.from({ length: vocabSize }, () => Array.from({ length: FOLLOWERS }, follower));
}

/** A tree whose nodes are in no order but that parents come before their children. */
function anyTemplate(random: Random): TemplateNode[] {
  const nodes: TemplateNode[] = [];
  const size = random.int(0, WORKGROUP);
  const deep = random.uniform();
  while (nodes.length < size) {
    const parent = random.uniform() < deep ? nodes.length - 1 : random.int(-1, nodes.length - 1);
    const depth = parent === -1 ? 1 : nodes[parent]!.depth + 1;
    nodes.push({ parent, rank: random.int(0, FOLLOWERS - 1), depth });
  }
  return nodes;
}

describe("drafting/recycle", () => {
  /** Follower k of id t is 100 t + k. */
  const numbered = Array.from({ length: 400 }, (_, id) => Array.from({ length: FOLLOWERS }, (_, k) => 100 * id + k));
  const template: TemplateNode[] = [
    { parent: -1, rank: 0, depth: 1 },
    { parent: -1, rank: 3, depth: 1 },
    { parent: 0, rank: 1, depth: 2 },
    { parent: 1, rank: 7, depth: 2 },
    { parent: 2, rank: 0, depth: 3 },
  ];

  test("a tree on the pending token, spelled out", async () => {
    expect(await expectRecycled({ template, followers: numbered, chain: [2] })).toEqual([
      { token: 200, parent: 0 },
      { token: 203, parent: 0 },
      { token: 20001, parent: PROPOSED },
      { token: 20307, parent: PROPOSED + 1 },
      { token: NONE, parent: PROPOSED + 2 }, // 20001 is no id
    ]);
  });

  test("a tree on the last row of a chain", async () => {
    const nodes = await expectRecycled({ template, followers: numbered, chain: [9, 8, 1] });
    expect(nodes.slice(0, 3)).toEqual([
      { token: 100, parent: 2 },
      { token: 103, parent: 2 },
      { token: 10001, parent: PROPOSED },
    ]);
  });

  test("nothing follows a token that is no id", async () => {
    for (const token of [400, 2 ** 31, NONE]) {
      const nodes = await expectRecycled({ template, followers: numbered, chain: [token] });
      expect(nodes.map((node) => node.token)).toEqual(template.map(() => NONE));
    }
  });

  test("a round that is over has a proposal that is harmless", async () => {
    const recycling = { template, followers: numbered, chain: [3] };
    expect(await recycle(recycling, 0)).toEqual(recycled(recycling));
  });

  test("no nodes; as many as there are threads, in one path", async () => {
    expect(await expectRecycled({ template: [], followers: numbered, chain: [2] })).toEqual([]);
    const path = Array.from({ length: WORKGROUP }, (_, i) => ({ parent: i - 1, rank: i % FOLLOWERS, depth: i + 1 }));
    const next = numbered.map((_, id) => numbered[0]!.map((_, k) => (id + k) % 400));
    const nodes = await expectRecycled({ template: path, followers: next, chain: [5] });
    expect(nodes.at(-1)).toEqual({ token: 5 + 8 * 28, parent: PROPOSED + 62 });
  });

  test(
    "150 random trees of random followers, with holes",
    seeded(async (random) => {
      for (let i = 0; i < 150; i++) {
        const followers = anyFollowers(random);
        const chain = random.ints(random.pick([1, random.int(1, ROW_CAPACITY)]), 0, followers.length - 1);
        await expectRecycled({ template: anyTemplate(random), followers, chain });
      }
    }),
  );

  test(
    "the trees there are",
    seeded(async (random) => {
      for (let size = 1; size <= MAX_TREE_SIZE; size++) {
        const followers = anyFollowers(random);
        const chain = random.ints(ROW_CAPACITY - size, 0, followers.length - 1);
        expect(await expectRecycled({ template: treeTemplate(size), followers, chain })).toHaveLength(size);
      }
    }),
  );
});

describe("treeTemplate", () => {
  const trees = Array.from({ length: MAX_TREE_SIZE + 1 }, (_, size) => treeTemplate(size));
  /** The ranks from the row to each node. */
  const pathsOf = (tree: readonly TemplateNode[]): string[] => {
    const paths: string[] = [];
    for (const { parent, rank } of tree) paths.push(parent === -1 ? `${rank}` : `${paths[parent]}${rank}`);
    return paths;
  };

  test("as many nodes as asked, parents first, level by level, a node's depth its path's length", () => {
    for (const [size, tree] of trees.entries()) {
      expect(tree).toHaveLength(size);
      const paths = pathsOf(tree);
      for (const [i, { parent, rank, depth }] of tree.entries()) {
        expect(Number.isInteger(parent) && parent >= -1 && parent < i).toBe(true);
        expect(Number.isInteger(rank) && rank >= 0 && rank < FOLLOWERS).toBe(true);
        expect(depth).toBe(paths[i]!.length);
        expect(depth).toBeGreaterThanOrEqual(tree[i - 1]?.depth ?? 1);
      }
    }
  });

  test("no node twice, and before each node those of its level that are likelier wherever ranks are", () => {
    for (const tree of trees) {
      const paths = pathsOf(tree);
      const known = new Set(paths);
      expect(known.size).toBe(paths.length);
      for (const path of paths) {
        for (const [k, rank] of [...path].map(Number).entries()) {
          if (rank === 0) continue;
          const likelier = `${path.slice(0, k)}${rank - 1}${path.slice(k + 1)}`;
          expect(known, `beside ${path}`).toContain(likelier);
          expect(paths.indexOf(likelier)).toBeLessThan(paths.indexOf(path));
        }
      }
    }
  });

  test("a tree is the next smaller one and a node, the others in the same order", () => {
    for (let size = 1; size < trees.length; size++) {
      const [smaller, paths] = [pathsOf(trees[size - 1]!), pathsOf(trees[size]!)];
      expect(paths.filter((path) => smaller.includes(path))).toEqual(smaller);
    }
  });

  test("the first ones: 0.42 is the first follower, 0.42 of it the first's, 0.12 the second", () => {
    expect(pathsOf(treeTemplate(1))).toEqual(["0"]);
    expect(pathsOf(treeTemplate(2))).toEqual(["0", "00"]);
    expect(pathsOf(treeTemplate(3))).toEqual(["0", "1", "00"]);
    expect(pathsOf(treeTemplate(4))).toEqual(["0", "1", "00", "000"]);
    // 0.42, 0.12, 0.065, 0.045, 0.033; 0.18, twice 0.05; 0.07; 0.03. The next is 0.03, the fifth 0.025.
    const ten = ["0", "1", "2", "3", "4", "00", "01", "10", "000", "0000"];
    expect(new Set(pathsOf(treeTemplate(10)))).toEqual(new Set(ten));
  });
});

/** Rows with logits, some of which teach. */
interface Lesson {
  /** Of every row of the table. */
  tokens: readonly number[];
  /** Of every row of the table, all of one length. */
  logits: readonly Float32Array[];
  range: Range;
  /** Rows that are dispatched, which may be more than there are. Default: the range's. */
  bound?: number;
  /** Ids of which followers are kept. Default: as many as there are logits. */
  vocabSize?: number;
}

/** The ids of the largest logits, the largest first and of equal ones the lowest. */
function topIds(logits: Float32Array): number[] {
  const ids = Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]! || a - b);
  return Array.from({ length: FOLLOWERS }, (_, k) => ids[k] ?? NONE);
}

/** What top_ids.wgsl does, as a plain function. */
function learnt({ tokens, logits, range: { first, count } }: Lesson, followers: Words, targets: Words): void {
  const seen = new Set<number>();
  for (let row = first; row < first + count; row++) {
    const token = tokens[row]!;
    const finite = logits[row]!.every(Number.isFinite);
    const ids = finite ? topIds(logits[row]!) : [];
    targets[row] = ids[0] ?? NONE;
    if (finite && !seen.has(token) && token < followers.length / FOLLOWERS) followers.set(ids, token * FOLLOWERS);
    seen.add(token);
  }
}

/** @param adapters whether it is a software adapter, whose workgroups have fewer threads than those of a GPU */
async function expectLearnt(lesson: Lesson, adapters = [true, false]): Promise<{ followers: Words; targets: Words }> {
  const { tokens, logits, range, bound = range.count, vocabSize = logits[0]!.length } = lesson;
  const expected = { followers: poisoned(vocabSize * FOLLOWERS), targets: poisoned(tokens.length) };
  learnt(lesson, expected.followers, expected.targets);
  const words = Float32Array.from(logits.flatMap((row) => [...row]));
  const given = {
    range: bench.ranges(range),
    shape: bench.uniform("shape", Uint32Array.of(logits[0]!.length)),
    rows: bench.rows(tokens.map((token) => ({ token }))),
    logits: bench.upload("logits", words),
  };
  for (const software of adapters) {
    const kernel = new TopIds(altered(bench.device, { info: { ...bench.device.info, software } }));
    await kernel.prepare();
    const followers = bench.output("followers", expected.followers.length);
    const targets = bench.output("targets", expected.targets.length);
    const group = kernel.bind({ ...given, followers, targets });
    const [learned, chosen] = await bench.run(
      (recorder) => kernel.dispatch(recorder, group, rowSet(0, bound)),
      followers,
      targets,
    );
    expectSameBits(chosen, expected.targets, "targets");
    expectSameBits(learned, expected.followers, "followers");
  }
  bench.release();
  return expected;
}

/** Logits of one row: far apart, with many ties, rising, falling, or the best ones all of one thread. */
function anyLogits(random: Random, count: number): Float32Array<ArrayBuffer> {
  const way = random.pick(["normal", "ties", "all equal", "rising", "falling", "one thread"]);
  if (way === "rising" || way === "falling") {
    return Float32Array.from({ length: count }, (_, id) => (way === "rising" ? id : -id));
  }
  // Ties between 0 and -0 among them.
  if (way === "ties") return Float32Array.from({ length: count }, () => Math.round(random.normal()));
  const logits = way === "normal" ? random.normals(count, 5) : new Float32Array(count).fill(-2.5);
  if (way === "one thread") {
    const stride = random.pick([WORKGROUP, FILTER_THREADS]);
    for (let id = random.int(0, stride - 1); id < count; id += stride) logits[id] = random.normal();
  }
  return logits;
}

describe("drafting/top_ids", () => {
  const row = (...logits: number[]) => Float32Array.from(logits);

  test("the largest logits' ids, the largest first", async () => {
    const { followers, targets } = await expectLearnt({
      tokens: [3],
      logits: [row(-1, 5, 2, 9, 0, 7, -3, 8, 1, 6)],
      range: { first: 0, count: 1 },
    });
    expect([...followers.subarray(3 * FOLLOWERS, 4 * FOLLOWERS)]).toEqual([3, 7, 5, 9, 1, 2, 8, 4]);
    expect([...targets]).toEqual([3]);
  });

  test("fewer ids than followers: the rest is none; of equal logits the lowest id", async () => {
    const { followers } = await expectLearnt({
      tokens: [4],
      logits: [row(1, -0, 1, 0, 7)],
      range: { first: 0, count: 1 },
    });
    expect([...followers.subarray(4 * FOLLOWERS)]).toEqual([4, 0, 2, 1, 3, NONE, NONE, NONE]);
  });

  test("of rows with one token the first teaches, none before the range", async () => {
    const { followers, targets } = await expectLearnt({
      tokens: [1, 1, 2, 1, 2, 1],
      logits: [row(9, 0, 0), row(0, 9, 0), row(0, 0, 9), row(9, 0, 0), row(0, 9, 0), row(0, 0, 9)],
      range: { first: 1, count: 4 },
    });
    expect([followers[FOLLOWERS], followers[2 * FOLLOWERS]]).toEqual([1, 2]);
    expect([...targets.subarray(1, 5)]).toEqual([1, 2, 0, 1]);
  });

  test(
    "a row with a logit that is no finite number teaches nothing, wherever it is",
    seeded(async (random) => {
      for (const count of [5, 512, 3000]) {
        const logits = Array.from({ length: 12 }, () => anyLogits(random, count));
        const places = [0, count - 1, random.int(0, count - 1)];
        for (const [i, bad] of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].entries()) {
          for (const [k, place] of places.entries()) logits[3 * i + k]![place] = bad;
        }
        logits[9]!.fill(Number.NaN);
        logits[10]![places[2]!] = 3.4028234663852886e38; // the largest that is finite
        const tokens = logits.map((_, r) => r % count);
        const { targets } = await expectLearnt({ tokens, logits, range: { first: 0, count: 12 } });
        expect([...targets.subarray(0, 10)]).toEqual(Array(10).fill(NONE));
        expect(targets[10]).toBe(places[2]);
      }
    }),
  );

  test("tokens that are no ids teach nothing, and have targets", async () => {
    const { followers, targets } = await expectLearnt({
      tokens: [6, NONE, 7, 2 ** 31],
      logits: [row(1, 2, 3), row(3, 2, 1), row(1, 3, 2), row(3, 1, 2)],
      range: { first: 0, count: 4 },
      vocabSize: 7,
    });
    expect([...followers.subarray(6 * FOLLOWERS, 6 * FOLLOWERS + 3)]).toEqual([2, 1, 0]);
    expect([...targets]).toEqual([2, 0, 1, 0]);
  });

  test(
    "60 random lessons: ties, repeated tokens, rows outside the range",
    seeded(async (random) => {
      for (let i = 0; i < 60; i++) {
        const count = random.pick([1, 5, 63, 65, 300, 512]);
        const table = random.int(1, random.pick([4, 12, 12, ROW_CAPACITY]));
        const first = random.int(0, table - 1);
        const rows = random.int(0, table - first);
        const logits = Array.from({ length: table }, () => anyLogits(random, count));
        for (const each of logits) if (random.uniform() < 0.1) each[random.int(0, count - 1)] = Number.NaN;
        const vocabSize = random.pick([count, count, 3]);
        const tokens = random.ints(table, 0, random.pick([vocabSize - 1, Math.min(4, vocabSize - 1), vocabSize + 2]));
        const bound = Math.max(1, rows + random.int(0, 2));
        // Workgroups of a GPU's size take the software adapter ten times as long.
        const adapters = i % 4 > 0 ? [true] : [true, false];
        await expectLearnt({ tokens, logits, range: { first, count: rows }, bound, vocabSize }, adapters);
      }
    }),
  );

  test(
    "the largest are all one thread's, in any order",
    seeded(async (random) => {
      const own = 9;
      const orders: ((k: number) => number)[] = [
        (k) => k,
        (k) => -k,
        () => random.normal(),
        () => random.int(0, 2),
        (k) => (k === own - 1 ? 1 : 0),
      ];
      for (const threads of [WORKGROUP, FILTER_THREADS]) {
        const logits = orders.map((order) => {
          const row = new Float32Array(threads * own).fill(-100);
          const thread = random.int(0, threads - 1);
          for (let k = 0; k < own; k++) row[thread + threads * k] = order(k);
          return row;
        });
        await expectLearnt({ tokens: [4, 3, 2, 1, 0], logits, range: { first: 0, count: orders.length } });
      }
    }),
  );

  test(
    "a vocabulary of 49152",
    seeded(async (random) => {
      const logits = Array.from({ length: 5 }, () => anyLogits(random, 49152));
      const tokens = [17, 49151, 0, 49151, 3];
      await expectLearnt({ tokens, logits, range: { first: 1, count: 3 }, bound: 4 });
    }),
  );
});
