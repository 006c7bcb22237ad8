/** `layerleap bench decode` and `bench drafters`: their counts agree with the rounds, whatever the speed. */

import { expect, test } from "vitest";
import type { DecodeRow } from "../../bench/decode.ts";
import type { DrafterRow } from "../../bench/drafters.ts";
import type { SeveralRow } from "../../bench/several.ts";
import { SLOW } from "../slow.ts";
import { layerleap, MODEL } from "./command.ts";

test("compares plain decoding with each plan and counts bytes from the shapes", async () => {
  const { stdout, code } = await layerleap([
    ...["bench", "decode", "--json", "--repetitions", "2", "--max-tokens", "24"],
    ...["--exit-layers", "2,4", "--draft-lengths", "3", "--controllers", "governor,del", "--hot-vocabularies", "64"],
  ]);
  expect(code).toBe(0);
  const { rows } = JSON.parse(stdout) as { rows: DecodeRow[] };
  expect(rows.map(({ name }) => name)).toEqual([
    ...["plain", "E=2, d=3", "E=4, d=3", "governor", "del", "E=2, d=3, all ids", "E=2, d=3, 64 ids"],
  ]);

  // Five layers (QKV, output, gate, up and down, two norms) and a head of 512 x 64, in f32.
  const layer = 4 * (64 * 128 + 64 * 64 + 3 * 64 * 172 + 128);
  const head = 4 * 512 * 64;
  const [plain, ...drafted] = rows;
  expect(plain).toMatchObject({ tokens: 24, rounds: 23, tokensPerRound: 1, speedup: 1, speedupByBytes: 1 });
  expect(plain!.weightBytesPerToken).toBe(5 * layer + head);
  for (const row of drafted) {
    expect(row.idsEqual).toBe(true);
    expect(row.tokens).toBe(24);
    expect(row.tokensPerRound).toBeCloseTo(23 / row.rounds, 10);
    expect(row.speedupByBytes).toBeCloseTo(plain!.weightBytesPerToken / row.weightBytesPerToken, 10);
    expect(row.speedupRange[0]).toBeLessThanOrEqual(row.speedup);
    // A round that was submitted ahead of the end is read too; DEL's probabilities and shadow exits come beside the report.
    expect(row.readbackBytesPerRound).toBeGreaterThanOrEqual(36);
    expect(row.readbackBytesPerRound).toBeLessThan(1000);
  }
});

test("an exit layer the model does not have is a usage error", async () => {
  const { stderr, code } = await layerleap(["bench", "decode", "--exit-layers", "5"]);
  expect(code).toBe(2);
  expect(stderr).toContain("--exit-layers: found 5, expected layers from 1 to 4");
});

test.runIf(SLOW)("compares drafters on five kinds of text, with counts that do not depend on the machine", async () => {
  const { stdout, code } = await layerleap([
    ...["bench", "drafters", "--json", "--repetitions", "1", "--max-tokens", "12", "--tree-sizes", "7"],
    ...["--drafters", "lookup,recycle", "--draft-model", MODEL],
  ]);
  expect(code).toBe(0);
  const { rows } = JSON.parse(stdout) as { rows: DrafterRow[] };
  const prompts = ["continuation", "summary", "edit", "code", "chat"];
  const ways = ["plain", "lookup 7", "recycle 7", "model d=4"];
  expect(rows.map(({ prompt, way }) => [prompt, way])).toEqual(prompts.flatMap((p) => ways.map((way) => [p, way])));
  for (const row of rows) {
    expect(row).toMatchObject({ tokens: 12, idsEqual: true });
    expect(row.accepted).toBe(11 - row.rounds);
    if (row.way === "plain") expect(row).toMatchObject({ rounds: 11, speedup: 1, speedupByBytes: 1 });
    // One pass over the weights a round, and no other.
    else if (!row.way.startsWith("model")) expect(row.speedupByBytes).toBeCloseTo(row.tokensPerRound, 10);
    // The model itself is always right: three rounds of four drafts, the last with fewer.
    else expect(row).toMatchObject({ rounds: 3, accepted: 8, drafted: 8 });
  }
});

test("compares texts at a time with one by one: the same texts in fewer submissions", async () => {
  const { stdout, code } = await layerleap([
    ...["bench", "several", "--json", "--texts", "4", "--repetitions", "1", "--max-tokens", "20"],
  ]);
  expect(code).toBe(0);
  const { rows } = JSON.parse(stdout) as { rows: SeveralRow[] };
  expect(rows.map(({ way, texts, tokens }) => [way, texts, tokens])).toEqual([
    ["plain", 4, 80],
    ["layerskip E=2 d=4", 4, 80],
  ]);
  for (const { idsEqual, rounds, submits } of rows) {
    expect(idsEqual).toBe(true);
    expect(submits).toBeLessThan(rounds);
  }
  const { stderr, code: refused } = await layerleap(["bench", "several", "--texts", "9"]);
  expect([refused, stderr]).toEqual([2, expect.stringContaining("--texts: found 9, expected numbers from 2 to 8")]);
});
