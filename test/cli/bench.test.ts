/** `layerleap bench decode`: its counts agree with the rounds, whatever the speed. */

import { expect, test } from "vitest";
import type { DecodeRow } from "../../bench/decode.ts";
import { layerleap } from "./command.ts";

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
    expect(row.readbackBytesPerRound).toBeGreaterThanOrEqual(276);
    expect(row.readbackBytesPerRound).toBeLessThan(1000);
  }
});

test("an exit layer the model does not have is a usage error", async () => {
  const { stderr, code } = await layerleap(["bench", "decode", "--exit-layers", "5"]);
  expect(code).toBe(2);
  expect(stderr).toContain("--exit-layers: found 5, expected layers from 1 to 4");
});
