import { afterEach, describe, expect, test } from "vitest";
import { DeviceLostError, DisposedError, GpuError, GpuUnavailableError } from "../../src/errors.ts";
import { Recorder } from "../../src/gpu/commands.ts";
import { Device } from "../../src/gpu/device.ts";
import { Kernel } from "../../src/kernels/kernel.ts";
import { defaultGpu } from "../../src/platform/node.ts";
import { collectGarbage } from "../collect_garbage.ts";

const opened: Device[] = [];

async function open(): Promise<Device> {
  const device = await Device.open(await defaultGpu());
  opened.push(device);
  return device;
}

afterEach(() => {
  for (const device of opened.splice(0)) {
    device.dispose();
    expect(device.ledger.report().buffers).toBe(0);
  }
});

/** What the promise is refused with; fails the test where it settles otherwise, or not within some seconds. */
async function refusal(promise: Promise<unknown>): Promise<unknown> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const hang = new Promise((resolve) => {
    timer = setTimeout(() => resolve("a hang"), 20_000);
  });
  const outcome = await Promise.race([
    hang,
    promise.then(
      () => "a result",
      (error: unknown) => error,
    ),
  ]);
  clearTimeout(timer);
  return outcome;
}

const readback = (device: Device, bytes = 16) =>
  device.ledger.allocate("test", "read", bytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);

const storage = (device: Device, name: string, bytes = 16) => {
  const { STORAGE, COPY_SRC, COPY_DST } = GPUBufferUsage;
  return device.ledger.allocate("test", name, bytes, STORAGE | COPY_SRC | COPY_DST);
};

/** A kernel that needs 64 bytes of `shape` and increments `data`. */
async function increment(device: Device) {
  const bindings = { shape: "uniform", data: "read-write" } as const;
  const code = `
    @group(0) @binding(0) var<uniform> shape: array<vec4u, 4>;
    @group(0) @binding(1) var<storage, read_write> data: array<u32>;
    @compute @workgroup_size(4) fn main(@builtin(global_invocation_id) id: vec3u) { data[id.x] += 1 + shape[3].w; }`;
  const kernel = new Kernel<keyof typeof bindings>(device, { name: "test/increment", code: [code], bindings }, {});
  await kernel.prepare();
  return kernel;
}

const uniform = (device: Device, bytes: number) =>
  device.ledger.allocate("test", "shape", bytes, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST);

describe("opening", () => {
  test("the profile says what the device is and what it offers", async () => {
    const { info, handle } = await open();
    expect(info.backend).not.toBe("");
    expect(info.backend).toBe(info.backend.toLowerCase());
    expect(info.features).toEqual([...info.features].sort());
    expect(info.limits.maxBufferSize).toBe(handle.limits.maxBufferSize);
    expect(info.limits.maxStorageBufferBindingSize).toBe(handle.limits.maxStorageBufferBindingSize);
    if (/swiftshader|llvmpipe/i.test(info.description)) expect(info.software).toBe(true);
  });

  test("no adapter is an error that says what to do", async () => {
    const gpu = { requestAdapter: async () => null } as unknown as GPU;
    const error = await refusal(Device.open(gpu));
    expect(error).toBeInstanceOf(GpuUnavailableError);
    expect(String(error)).toContain("driver");
  });
});

describe("submissions and readbacks", () => {
  test("are counted, bytes too, and a result is a copy", async () => {
    const device = await open();
    const kernel = await increment(device);
    const [data, read] = [storage(device, "data"), readback(device)];
    const group = kernel.bind({ shape: uniform(device, 64), data });
    const results: Uint32Array[] = [];
    for (let i = 1; i <= 3; i++) {
      const recorder = new Recorder(device.handle, "round");
      kernel.record(recorder, group, undefined, [1]);
      kernel.record(recorder, group, undefined, [1]);
      recorder.copy(data, 0, read, 0, 16);
      expect(recorder.dispatches).toBe(2);
      device.submit(recorder);
      expect(device.submits).toBe(i);
      results.push(new Uint32Array(await device.read(read, i === 3 ? 8 : 16)));
      expect(device.readbacks).toBe(i);
    }
    expect(device.readbackBytes).toBe(40);
    expect(results.map((words) => [...words])).toEqual([
      [2, 2, 2, 2],
      [4, 4, 4, 4],
      [6, 6],
    ]);
    device.check();
  });

  test("copies between dispatches see what was written before and not after", async () => {
    const device = await open();
    const kernel = await increment(device);
    const [data, read] = [storage(device, "data"), readback(device, 48)];
    const group = kernel.bind({ shape: uniform(device, 64), data });
    const recorder = new Recorder(device.handle, "test");
    for (let i = 0; i < 3; i++) {
      kernel.record(recorder, group, undefined, [1]);
      recorder.copy(data, 0, read, i * 16, 16);
    }
    device.submit(recorder);
    expect([...new Uint32Array(await device.read(read, 48))]).toEqual([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
  });
});

describe("an error in a submission surfaces at the read, by name", () => {
  /** Records one dispatch, spoils it, submits and reads. */
  async function failing(device: Device, shapeBytes: number, spoil: (data: GPUBuffer) => void): Promise<GpuError> {
    const kernel = await increment(device);
    const [data, read] = [storage(device, "spoilt data"), readback(device)];
    const group = kernel.bind({ shape: uniform(device, shapeBytes), data });
    const recorder = new Recorder(device.handle, "the round");
    kernel.record(recorder, group, undefined, [1]);
    recorder.copy(data, 0, read, 0, 16);
    spoil(data);
    device.submit(recorder);
    const error = await refusal(device.read(read, 16));
    expect(error).toBeInstanceOf(GpuError);
    expect(() => device.check(), "and is told once").not.toThrow();
    expect(device.readbacks).toBe(0);
    return error as GpuError;
  }

  test("a buffer too small for its binding: the kernel's", async () => {
    const error = await failing(await open(), 16, () => {});
    expect(error.kernel).toBe("test/increment");
    expect(error.message).toMatch(/16.*64/s);
  });

  test("a buffer destroyed before the submission: the buffer's", async () => {
    const device = await open();
    const error = await failing(device, 64, (data) => device.ledger.release(data));
    expect(error.kernel).toBe("test/spoilt data");
    expect(error.message).toContain("destroyed");
  });

  test("a bind group that was never valid: the kernel's", async () => {
    const device = await open();
    const kernel = await increment(device);
    const read = readback(device);
    const group = kernel.bind({ shape: storage(device, "no uniform", 64), data: storage(device, "data") });
    const recorder = new Recorder(device.handle, "the round");
    kernel.record(recorder, group, undefined, [1]);
    // The device may know of it before the submission or only after it.
    const error = await refusal(
      (async () => {
        device.submit(recorder);
        await device.read(read, 16);
      })(),
    );
    expect(error).toBeInstanceOf(GpuError);
    expect((error as GpuError).message).toContain("test/no uniform");
    expect((error as GpuError).kernel).toBe("test/increment");
  });

  test("a copy past a buffer's end", async () => {
    const device = await open();
    const [data, read] = [storage(device, "short", 8), readback(device)];
    const recorder = new Recorder(device.handle, "the round");
    recorder.copy(data, 0, read, 0, 16);
    device.submit(recorder);
    const error = await refusal(device.read(read, 16));
    expect(error).toBeInstanceOf(GpuError);
    expect((error as GpuError).message).toContain("test/short");
  });

  test("a read of a buffer that cannot be mapped names the buffer", async () => {
    const device = await open();
    const error = await refusal(device.read(storage(device, "not for reading"), 16));
    expect(error).toBeInstanceOf(GpuError);
    expect((error as GpuError).kernel).toBe("test/not for reading");
  });
});

describe("runs side by side", () => {
  /** A run that increments a buffer of its own. */
  async function incremented(device: Device, shapeBytes: number): Promise<number[]> {
    const kernel = await increment(device);
    const [data, read] = [storage(device, "data"), readback(device)];
    const [result] = await device.run("a run", (recorder) => {
      const group = kernel.bind({ shape: uniform(device, shapeBytes), data });
      kernel.record(recorder, group, undefined, [1]);
      recorder.copy(data, 0, read, 0, 16);
      return [read];
    });
    return [...new Uint32Array(result!)];
  }

  test("each has its own results and its own error, which nobody else is told", async () => {
    const device = await open();
    const sizes = [64, 16, 64, 64, 16, 64];
    const outcomes = await Promise.allSettled(sizes.map((bytes) => incremented(device, bytes)));
    for (const [i, outcome] of outcomes.entries()) {
      if (sizes[i] === 64) expect(outcome).toEqual({ status: "fulfilled", value: [1, 1, 1, 1] });
      else expect(outcome).toMatchObject({ status: "rejected", reason: { code: "gpu", kernel: "test/increment" } });
    }
    device.check();
    expect(device.submits).toBe(sizes.length);
  });

  test("one whose recording throws leaves no error scope open", async () => {
    const device = await open();
    const broken = device.run("a run", () => {
      throw new RangeError("a mistake");
    });
    expect(await refusal(broken)).toBeInstanceOf(RangeError);
    expect(await refusal(incremented(device, 16))).toMatchObject({ kernel: "test/increment" });
    expect(await incremented(device, 64)).toEqual([1, 1, 1, 1]);
    await expect(device.handle.popErrorScope()).rejects.toThrow();
  });

  test("a lost device is reported as such", async () => {
    const device = await open();
    const running = refusal(incremented(device, 64));
    device.handle.destroy();
    expect(await running).toBeInstanceOf(DeviceLostError);
    expect(await refusal(device.run("late", () => []))).toBeInstanceOf(DeviceLostError);
  });
});

describe("allocating", () => {
  test("what the device refuses is an error that names what was wanted", async () => {
    const device = await open();
    const { MAP_READ, STORAGE } = GPUBufferUsage;
    const allocate = () => device.ledger.allocate("weights", "wrong", 16, MAP_READ | STORAGE);
    const error = await refusal(device.allocating("the model", 16, allocate));
    expect(error).toBeInstanceOf(GpuError);
    expect((error as GpuError).kernel).toBe("the model");
    device.check(); // reported once, by the call that could
  });

  test("hands on what it allocated, and what `allocate` throws itself", async () => {
    const device = await open();
    const buffer = await device.allocating("it", 16, () => storage(device, "it"));
    expect(buffer.size).toBe(16);
    const tooLarge = device.allocating("it", 1, () => storage(device, "huge", device.handle.limits.maxBufferSize + 4));
    expect(String(await refusal(tooLarge))).toContain("test/huge");
    // No error scope is left open: the next error lands where it belongs.
    expect(await device.allocating("it", 16, () => storage(device, "it again"))).toBeDefined();
  });
});

describe("a lost device", () => {
  test("is reported by the next submission and the next read, not by a hang", async () => {
    const device = await open();
    const read = readback(device);
    device.handle.destroy();
    await device.handle.lost;
    expect(() => device.check()).toThrow(DeviceLostError);
    expect(() => device.submit(new Recorder(device.handle, "late"))).toThrow(DeviceLostError);
    expect(await refusal(device.read(read, 16))).toBeInstanceOf(DeviceLostError);
    expect(await refusal(device.allocating("it", 4, () => 0))).toBeInstanceOf(DeviceLostError);
  });

  test("is reported by a read at once after the loss", async () => {
    const device = await open();
    const read = readback(device);
    device.handle.destroy();
    expect(await refusal(device.read(read, 16))).toBeInstanceOf(DeviceLostError);
  });

  test("is reported by the read of a submission under way", async () => {
    const device = await open();
    const kernel = await increment(device);
    const [data, read] = [storage(device, "data"), readback(device)];
    const group = kernel.bind({ shape: uniform(device, 64), data });
    const recorder = new Recorder(device.handle, "round");
    kernel.record(recorder, group, undefined, [1]);
    recorder.copy(data, 0, read, 0, 16);
    device.submit(recorder);
    const reading = refusal(device.read(read, 16));
    device.handle.destroy();
    expect(await reading).toBeInstanceOf(DeviceLostError);
  });

  test("a submission right after the loss does not hide it", async () => {
    const device = await open();
    const kernel = await increment(device);
    const [data, read] = [storage(device, "data"), readback(device)];
    const group = kernel.bind({ shape: uniform(device, 64), data });
    const recorder = new Recorder(device.handle, "round");
    kernel.record(recorder, group, undefined, [1]);
    recorder.copy(data, 0, read, 0, 16);
    device.handle.destroy();
    try {
      device.submit(recorder);
    } catch (error) {
      expect(error).toBeInstanceOf(DeviceLostError);
    }
    expect(await refusal(device.read(read, 16))).toBeInstanceOf(DeviceLostError);
  });
});

describe("disposing", () => {
  test("empties the books; whatever comes after is refused as such", async () => {
    const device = await open();
    const read = readback(device);
    storage(device, "data");
    device.dispose();
    expect(device.ledger.report()).toEqual({ buffers: 0, bytes: 0, byOwner: {} });
    expect(() => device.check()).toThrow(DisposedError);
    expect(() => device.submit(new Recorder(device.handle, "late"))).toThrow(DisposedError);
    expect(await refusal(device.read(read, 16))).toBeInstanceOf(DisposedError);
    expect(await refusal(device.allocating("it", 4, () => 0))).toBeInstanceOf(DisposedError);
  });

  test("twice does no harm, and a loss afterwards is none", async () => {
    const device = await open();
    device.dispose();
    device.dispose();
    await device.handle.lost;
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(() => device.check()).toThrow(DisposedError);
  });

  test("lets go of it", async () => {
    const used = async () => {
      const device = await Device.open(await defaultGpu());
      await increment(device);
      device.dispose();
      await device.handle.lost;
      return new WeakRef(device);
    };
    const gone = await used();
    await collectGarbage();
    expect(gone.deref()).toBeUndefined();
  });

  test("during a read ends the read", async () => {
    const device = await open();
    const read = readback(device);
    const reading = refusal(device.read(read, 16));
    device.dispose();
    expect(await reading).toBeInstanceOf(DisposedError);
  });

  test("one device leaves another alone", async () => {
    const [gone, stays] = [await open(), await open()];
    const [data, read] = [storage(stays, "data"), readback(stays)];
    gone.dispose();
    const recorder = new Recorder(stays.handle, "round");
    recorder.copy(data, 0, read, 0, 16);
    stays.submit(recorder);
    expect([...new Uint32Array(await stays.read(read, 16))]).toEqual([0, 0, 0, 0]);
  });
});
