import { test } from "vitest";
import { Device } from "../../src/gpu/device.ts";
import { defaultGpu } from "../../src/platform/node.ts";
import { benchKernels, compareKernels } from "../../bench/kernels.ts";
test("kernels", async () => {
  const device = await Device.open(await defaultGpu());
  const t = performance.now();
  const results = await benchKernels(device, { dtype: "q4", shapes: ["stories260K", "SmolLM2-135M"], rows: [1, 5], repetitions: 2 }, (s) => console.log(s, performance.now() - t));
  console.log(JSON.stringify(results, (k, v) => typeof v === "number" ? +v.toPrecision(3) : v, 1).slice(0, 20000));
  console.log(JSON.stringify(await compareKernels(device, { dtype: "q4", shapes: ["stories260K"], rows: [1, 5], repetitions: 2 }, [{}, {fewRows: {kind: "workgroup", slices: 8}}])));
  console.log(device.ledger.report());
  device.dispose();
}, 300000);
