import { expect, test } from "vitest";
import { ManyRowMatmul } from "../../src/kernels/many_row_matmul.ts";
import { probeData, runProbe } from "../../src/kernels/matmul_probe.ts";
import { judge, computesRight } from "../../src/kernels/self_check.ts";
import { exactInInt8 } from "../../src/kernels/int8_rows.ts";
import { openBench } from "./harness.ts";
const bench = openBench();
const formats: any[] = [{type:"f32"},{type:"f16"},{type:"q8",codes:"symmetric",block:32,scale:"f16"},{type:"q8",codes:"symmetric",block:16,scale:"f16"},{type:"q4",codes:"symmetric",block:16,scale:"f32"},{type:"q4",codes:"symmetric",block:32,scale:"f16"},{type:"q4",codes:"minimum",block:16,scale:"f32"},{type:"q4",codes:"codebook",block:32,scale:"f16",codebook:[...Array(16).keys()].map(x=>x*x-99)}];
for (const variant of ["tiles","int8","thread"] as const) for (const format of formats) for (const form of ["store","gated","qkv","add"] as const) {
  if (variant === "int8" && format.codes !== "symmetric") continue;
  if (variant==="thread" && format.type!=="q4") continue;
  test(`${variant} ${form} ${JSON.stringify(format)}`, async () => {
    const m = new ManyRowMatmul(bench.device, {form, format}, variant);
    const t = performance.now();
    await m.prepare();
    const data = variant==="int8" ? exactInInt8(probeData(m.kind)) : probeData(m.kind);
    const v = await computesRight(bench.device, {data, shape: m.shape(data.size), record: (rec, b, r) => m.record(rec, m.bind(b, data.size.outputs), r)});
    console.log("ALT", variant, form, JSON.stringify(format), (performance.now()-t)|0, v.worst, v.where);
  });
}
