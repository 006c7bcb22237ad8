import { test } from "vitest";
import { appendFileSync } from "node:fs";
import { ManyRowMatmul } from "../../src/kernels/many_row_matmul.ts";
import { FewRowMatmul } from "../../src/kernels/few_row_matmul.ts";
import { scaleBytes, weightBytes } from "../../src/kernels/weight_format.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import { openBench } from "./harness.ts";
const bench = openBench();
const log = (...a: any[]) => appendFileSync("/tmp/many.log", a.join(" ") + "\n");
const med = (x: number[]) => [...x].sort((a,b)=>a-b)[x.length>>1]!;
test("speed", { timeout: 1e6 }, async () => {
  const dev = bench.device;
  const q4: any = {type:"q4",codes:"symmetric",block:32,scale:"f16"};
  const f32: any = {type:"f32"};
  for (const [K, N, ROWS, ONE] of [[576,1536,512,512],[2048,2048,128,64]] as const) for (const format of [q4, f32]) {
    const kind = {form:"store" as const, format};
    const rnd = (n: number) => { const a = new Uint32Array(n); for (let i=0;i<n;i++) a[i] = (Math.random()*2**32)>>>0; return a; };
    const rndf = (n: number) => { const a = new Float32Array(n); for (let i=0;i<n;i++) a[i] = Math.random()-.5; return a; };
    const weight = bench.upload("w", format.type==="f32" ? rndf(weightBytes(format,K,N)/4) : rnd(weightBytes(format,K,N)/4));
    const scales = bench.upload("s", new Uint32Array(Math.ceil(scaleBytes(format,K,N)/4)).fill(0x20002000));
    const input = bench.upload("x", rndf(ROWS*K));
    const output = bench.output("o", ROWS*N);
    const range = bench.ranges(...[{first:0,count:ROWS}, ...Array.from({length:ROWS},(_,r)=>({first:r,count:1}))]);
    const size = {inputSize:K, outputs:N};
    const cases: [string, number, (r: Recorder)=>void][] = [];
    const bufs = (shape: any) => ({range, shape: bench.uniform("shape", shape), weight, scales, input, output}) as any;
    for (const variant of ["tiles","thread","int8"] as const) {
      if (variant==="int8" && format!==q4) continue;
      const m = new ManyRowMatmul(dev, kind, variant); const c = process.cpuUsage(); await m.prepare();
      log("prepare cpu ms", format.type, variant, process.cpuUsage(c).user/1e3|0);
      const b = m.bind(bufs(m.shape(size)), N); cases.push([variant, ROWS, r => m.record(r, b, {range:0,count:ROWS,end:0})]);
    }
    const one = new FewRowMatmul(dev, kind); await one.prepare(1);
    const b = one.bind(bufs(one.shape(size)), N); cases.push(["one-row", ONE, r => { for (let i=0;i<ONE;i++) one.record(r, b, {range:1+i,count:1,end:0}); }]);
    const wall: Record<string, number[]> = {}, cpu: Record<string, number[]> = {};
    for (let rep = 0; rep < 6; rep++) for (const [name, rows, rec] of cases) {
      const r = new Recorder(dev.handle, "b"); rec(r);
      const t = performance.now(), c = process.cpuUsage();
      dev.submit(r); await dev.handle.queue.onSubmittedWorkDone();
      const w = performance.now()-t, u = process.cpuUsage(c);
      if (rep === 0) continue;
      const flop = 2*rows*K*N;
      (wall[name] ??= []).push(flop/w/1e6); (cpu[name] ??= []).push(flop/((u.user+u.system)/1e3)/1e6);
    }
    for (const [name] of cases) log("FINAL", K, N, format.type, name, "GFLOP/s wall", med(wall[name]!).toFixed(2), "per cpu-s", med(cpu[name]!).toFixed(2));
    bench.release();
  }
});
