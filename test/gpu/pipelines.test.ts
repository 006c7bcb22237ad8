import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { GpuError } from "../../src/errors.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import { Device } from "../../src/gpu/device.ts";
import { assemble, type Constants, type KernelSource, PipelineCache } from "../../src/gpu/pipelines.ts";
import { Kernel } from "../../src/kernels/kernel.ts";
import { defaultGpu } from "../../src/platform/node.ts";

let device: Device;
let pipelines: PipelineCache;

beforeAll(async () => {
  device = await Device.open(await defaultGpu());
});
beforeEach(() => {
  pipelines = new PipelineCache(device.handle);
});
afterEach(() => device.ledger.releaseAll());
afterAll(() => {
  device.check();
  device.dispose();
});

const BINDINGS = { input: "read", output: "read-write" } as const;

/** Writes FACTOR * input[i] + OFFSET. */
const SCALE: KernelSource & { bindings: typeof BINDINGS } = {
  name: "test/scale",
  code: [
    "@group(0) @binding(0) var<storage, read> input: array<f32>;",
    `@group(0) @binding(1) var<storage, read_write> output: array<f32>;
     @compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3u) {
       output[id.x] = f32(FACTOR) * input[id.x] + OFFSET;
     }`,
  ],
  bindings: BINDINGS,
};

/** What the pipeline makes of 1, 2, 3 and 4. */
async function scaled(pipeline: GPUComputePipeline): Promise<number[]> {
  const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
  const input = device.ledger.allocate("test", "input", 16, STORAGE | COPY_DST);
  const output = device.ledger.allocate("test", "output", 16, STORAGE | COPY_SRC);
  const read = device.ledger.allocate("test", "read", 16, MAP_READ | COPY_DST);
  device.handle.queue.writeBuffer(input, 0, Float32Array.of(1, 2, 3, 4));
  const recorder = new Recorder(device.handle, "test");
  recorder.dispatch(pipeline, pipelines.bind(SCALE, { input, output }), undefined, [1]);
  recorder.copy(output, 0, read, 0, 16);
  device.submit(recorder);
  return [...new Float32Array(await device.read(read, 16))];
}

/** What compiling is refused with. */
async function refusal(source: KernelSource, constants?: Constants): Promise<GpuError> {
  const error = await pipelines.get(source, constants).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(GpuError);
  return error as GpuError;
}

describe("pipelines", () => {
  test("constants stand before the code: whole numbers unsigned, strings as they are", () => {
    expect(assemble({ ...SCALE, code: ["a", "b"] }, { M: 4, X: "1.5" })).toBe("const M = 4u;\nconst X = 1.5;\na\nb");
  });

  test("two constants are two pipelines, the same constants one", async () => {
    const double = await pipelines.get(SCALE, { FACTOR: 2, OFFSET: "0.5" });
    const triple = await pipelines.get(SCALE, { FACTOR: 3, OFFSET: "0.5" });
    const offset = await pipelines.get(SCALE, { FACTOR: 2, OFFSET: "-1.0" });
    expect(await pipelines.get(SCALE, { FACTOR: 2, OFFSET: "0.5" })).toBe(double);
    expect(pipelines.count).toBe(3);
    expect(await scaled(double)).toEqual([2.5, 4.5, 6.5, 8.5]);
    expect(await scaled(triple)).toEqual([3.5, 6.5, 9.5, 12.5]);
    expect(await scaled(offset)).toEqual([1, 3, 5, 7]);
  });

  test("asking again while it compiles compiles once", async () => {
    const constants = { FACTOR: 5, OFFSET: "0.0" };
    const [a, b] = [pipelines.get(SCALE, constants), pipelines.get(SCALE, constants)];
    expect(b).toBe(a);
    await a;
    expect(pipelines.count).toBe(1);
  });

  test("kernels of one name with other constants' names do not share a pipeline", async () => {
    const a = await pipelines.get(SCALE, { FACTOR: 1, OFFSET: "0.0" });
    const b = await pipelines.get({ ...SCALE, name: "test/other" }, { FACTOR: 1, OFFSET: "0.0" });
    expect(b).not.toBe(a);
  });

  test("a WGSL error names the kernel, its constants, line and message", async () => {
    const broken = { ...SCALE, code: [SCALE.code[0]!, SCALE.code[1]!.replace("f32(FACTOR)", "FACTOR")] };
    const error = await refusal(broken, { FACTOR: 2, OFFSET: "0.5" });
    expect(error.kernel).toContain("test/scale");
    expect(error.message).toContain('"FACTOR":2');
    // Two lines of constants, one of the first text, and the third of the second text.
    expect(error.message).toMatch(/line 6: .*no matching overload/);
    const syntax = await refusal({ ...SCALE, code: ["fn main( {"] });
    expect(syntax.message).toMatch(/test\/scale.*line 1: expected/);
  });

  test("an error that is not the WGSL's own still names the kernel and says what is wrong", async () => {
    // A binding that the layout does not have.
    const error = await refusal({ ...SCALE, bindings: { input: "read" } }, { FACTOR: 2, OFFSET: "0.5" });
    expect(error.kernel).toContain("test/scale");
    expect(error.message).toMatch(/binding/i);
  });

  test("a failed compilation is not kept: the next try compiles", async () => {
    await refusal({ ...SCALE, code: ["nonsense"] }, { FACTOR: 2, OFFSET: "0.0" });
    expect(pipelines.count).toBe(0);
    expect(await scaled(await pipelines.get(SCALE, { FACTOR: 2, OFFSET: "0.0" }))).toEqual([2, 4, 6, 8]);
    expect(pipelines.count).toBe(1);
  });

  test("a failed compilation is its caller's error and not the device's", async () => {
    await refusal({ ...SCALE, code: ["nonsense"] });
    await device.handle.queue.onSubmittedWorkDone();
    device.check();
  });

  test("the time of compiling grows with each compilation and not without one", async () => {
    expect(pipelines.compileMs).toBe(0);
    await pipelines.get(SCALE, { FACTOR: 7, OFFSET: "0.0" });
    const once = pipelines.compileMs;
    expect(once).toBeGreaterThan(0);
    await pipelines.get(SCALE, { FACTOR: 7, OFFSET: "0.0" });
    expect(pipelines.compileMs).toBe(once);
    await refusal({ ...SCALE, code: ["nonsense"] });
    expect(pipelines.compileMs).toBeGreaterThan(once);
  });

  test("compilations side by side count the time once", async () => {
    const start = performance.now();
    await Promise.all([11, 12, 13, 14].map((FACTOR) => pipelines.get(SCALE, { FACTOR, OFFSET: "0.0" })));
    expect(pipelines.compileMs).toBeLessThanOrEqual(performance.now() - start);
  });

  test("kernels with the same kinds of bindings share a layout, others do not", () => {
    const layout = pipelines.layout(SCALE);
    expect(pipelines.layout({ ...SCALE, name: "other", bindings: { a: "read", b: "read-write" } })).toBe(layout);
    expect(pipelines.layout({ ...SCALE, bindings: { a: "read-write", b: "read" } })).not.toBe(layout);
  });

  test("a buffer that was not given is named, with its kernel", () => {
    const input = device.ledger.allocate("test", "input", 16, GPUBufferUsage.STORAGE);
    const bind = () => pipelines.bind(SCALE, { input });
    expect(bind).toThrow(GpuError);
    expect(bind).toThrow("test/scale: no buffer was given for the binding 'output'");
  });
});

test("a kernel that is recorded before it is prepared is refused by name, and nothing is recorded", async () => {
  const kernel = new Kernel<keyof typeof BINDINGS>(device, SCALE, { FACTOR: 2, OFFSET: "0.0" });
  const usage = GPUBufferUsage.STORAGE;
  const group = kernel.bind({
    input: device.ledger.allocate("test", "input", 16, usage),
    output: device.ledger.allocate("test", "output", 16, usage),
  });
  const recorder = new Recorder(device.handle, "test");
  expect(() => kernel.record(recorder, group, undefined, [1])).toThrow(GpuError);
  expect(() => kernel.record(recorder, group, undefined, [1])).toThrow(
    "test/scale: the kernel was recorded before it was",
  );
  expect(recorder.dispatches).toBe(0);
  await kernel.prepare();
  kernel.record(recorder, group, undefined, [1]);
  expect(recorder.dispatches).toBe(1);
  device.submit(recorder);
});
