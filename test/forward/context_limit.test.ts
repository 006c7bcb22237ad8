/** How long a context a device admits: at its limit a model is built, beyond it the error says what would fit. */

import { expect, test } from "vitest";
import { Forward } from "../../src/forward/forward.ts";
import { KvCache } from "../../src/forward/kv_cache.ts";
import { RowTable } from "../../src/forward/row_table.ts";
import { Device } from "../../src/gpu/device.ts";
import { check, InputError, load } from "../../src/index.ts";
import { bestChoice } from "../../src/kernels/choice.ts";
import { defaultGpu } from "../../src/platform/node.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { planWeights } from "../../src/weights/plan.ts";
import { uploadWeights } from "../../src/weights/upload.ts";
import { bindingAtMost } from "../bound_gpu.ts";
import { randomModelFolder } from "../memory_folder.ts";
import { Random } from "../reference/random.ts";

const BINDING = 8 * 2 ** 20;

/** A model of these heads whose own limit is far away. */
function modelOf(heads: number, kvHeads: number) {
  const shape = { heads, kvHeads, headDim: 32, layers: 1, hiddenSize: 64, maxPositionEmbeddings: 2 ** 20 };
  return randomModelFolder(new Random(1), shape).folder;
}

test.each([
  // Bytes a position: keys 1,024, rotations 128, partial sums 1,024: of equals the first is named.
  { tightest: "a layer's keys", heads: 8, kvHeads: 8, kv: "f32", longest: 8192 },
  // 64, 128, 2,048.
  { tightest: "attention's partial sums", heads: 16, kvHeads: 1, kv: "f16", longest: 4096 },
  // 64, 128, 128.
  { tightest: "the rotations of positions", heads: 1, kvHeads: 1, kv: "f16", longest: 65_536 },
] as const)("by $tightest", async ({ tightest, heads, kvHeads, kv, longest }) => {
  const checkpoint = await openCheckpoint(modelOf(heads, kvHeads));
  const { spec } = checkpoint;
  const device = await Device.open(bindingAtMost(await defaultGpu(), BINDING));
  try {
    const weights = await uploadWeights(
      device,
      checkpoint,
      planWeights(checkpoint, { dtype: "f32", keepsBlocks: false }, device.ledger.bindableBytes),
    );
    const build = (contextLength: number) => {
      const cache = new KvCache(device, spec, contextLength, kv);
      const choice = { ...bestChoice(device), kv };
      return new Forward(device, spec, weights, cache, new RowTable(device, contextLength), contextLength, choice);
    };
    await device.allocating("the longest context", 0, () => build(longest));

    const held = device.ledger.report();
    const refused = () => build(longest + 1);
    expect(refused).toThrow(InputError);
    expect(refused).toThrow(`contextLength: found ${longest + 1}, expected at most ${longest} on this device`);
    expect(refused).toThrow(new RegExp(`${tightest} would take \\d+ bytes and it binds at most ${BINDING}`));
    expect(device.ledger.report(), "nothing was allocated for it").toEqual(held);
  } finally {
    device.dispose();
  }
});

test.each([
  ["load", load],
  ["check", check],
] as const)("`%s` says so", async (name, call) => {
  const gpu = bindingAtMost(await defaultGpu(), BINDING);
  const error = await call(modelOf(8, 8), { gpu, contextLength: 10_000 }).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(InputError);
  expect((error as InputError).message).toBe(
    `${name}: contextLength: found 10000, expected at most 8192 on this device: ` +
      // In whole pages: 157 of 64 slots.
      "a layer's keys would take 10289152 bytes and it binds at most 8388608",
  );
});
