import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { GpuError } from "../../src/errors.ts";
import { Device } from "../../src/gpu/device.ts";
import { BufferLedger } from "../../src/gpu/ledger.ts";
import { defaultGpu } from "../../src/platform/node.ts";

let device: Device;
let ledger: BufferLedger;

beforeAll(async () => {
  device = await Device.open(await defaultGpu());
  ledger = device.ledger;
});
afterEach(() => ledger.releaseAll());
afterAll(() => {
  device.check();
  device.dispose();
});

const storage = () => GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST;

/** What the call throws. */
function refusal(call: () => unknown): GpuError {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(GpuError);
    return error as GpuError;
  }
  throw new Error("nothing was refused");
}

describe("the ledger", () => {
  test("starts with empty books", () => {
    expect(ledger.report()).toEqual({ buffers: 0, bytes: 0, byOwner: {} });
  });

  test("books every buffer under its owner, with its size", () => {
    ledger.allocate("kv", "layer 0 keys", 1024, storage());
    ledger.allocate("kv", "layer 0 values", 512, storage());
    ledger.allocate("weights", "head", 4096, storage());
    expect(ledger.report()).toEqual({ buffers: 3, bytes: 5632, byOwner: { kv: 1536, weights: 4096 } });
  });

  test("labels a buffer owner/name, rounds its size up to 4 and gives an empty one 4 bytes", () => {
    const buffers = [1, 4, 5, 0].map((bytes) => ledger.allocate("test", "odd", bytes, storage()));
    expect(buffers.map((buffer) => buffer.size)).toEqual([4, 4, 8, 4]);
    expect(buffers[0]!.label).toBe("test/odd");
    expect(ledger.report().bytes).toBe(20);
  });

  test("release strikes a buffer off and destroys it, once", async () => {
    const kept = ledger.allocate("test", "kept", 8, storage());
    const released = ledger.allocate("test", "released", 16, storage());
    ledger.release(released);
    ledger.release(released);
    expect(ledger.report()).toEqual({ buffers: 1, bytes: 8, byOwner: { test: 8 } });
    // A destroyed buffer can still be asked for, but not be written.
    device.handle.pushErrorScope("validation");
    device.handle.queue.writeBuffer(kept, 0, new Uint32Array(1));
    expect(await device.handle.popErrorScope(), "writing to the one that was kept").toBeNull();
    device.handle.pushErrorScope("validation");
    device.handle.queue.writeBuffer(released, 0, new Uint32Array(1));
    expect((await device.handle.popErrorScope())?.message, "writing to the one that was released").toContain(
      "test/released",
    );
  });

  test("does not touch a buffer that is not its own", async () => {
    const foreign = device.handle.createBuffer({ size: 4, usage: storage() });
    ledger.release(foreign);
    device.handle.pushErrorScope("validation");
    device.handle.queue.writeBuffer(foreign, 0, new Uint32Array(1));
    expect(await device.handle.popErrorScope()).toBeNull();
    foreign.destroy();
  });

  test("releases an owner's buffers and no other's", () => {
    for (let i = 0; i < 5; i++) ledger.allocate("round", `${i}`, 4, storage());
    ledger.allocate("kv", "keys", 4, storage());
    ledger.releaseOwner("round");
    expect(ledger.report()).toEqual({ buffers: 1, bytes: 4, byOwner: { kv: 4 } });
    ledger.releaseOwner("nobody");
    ledger.releaseAll();
    expect(ledger.report()).toEqual({ buffers: 0, bytes: 0, byOwner: {} });
  });

  test("a buffer over the device's limit is refused by name, size and limit, and is not booked", () => {
    const { maxBufferSize, maxStorageBufferBindingSize } = device.handle.limits;
    const bindable = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    // Sizes are rounded up to 4, and a limit need be no multiple of it (llvmpipe: 2^32 - 1).
    const over = (limit: number) => Math.ceil((limit + 4) / 4) * 4;
    const error = refusal(() => ledger.allocate("kv", "layer 3 keys", bindable + 4, storage()));
    expect(error.kernel).toBe("kv/layer 3 keys");
    expect(error.message).toContain(`${over(bindable)} bytes`);
    expect(error.message).toContain(`at most ${bindable}`);
    const { MAP_READ, COPY_DST } = GPUBufferUsage;
    const mapped = refusal(() => ledger.allocate("read", "ring", maxBufferSize + 4, MAP_READ | COPY_DST));
    expect(mapped.message).toContain(`read/ring: the buffer needs ${over(maxBufferSize)} bytes`);
    expect(mapped.message).toContain(`${maxBufferSize}`);
    expect(ledger.report().buffers).toBe(0);
  });
});

test("the limit of what can be bound holds for storage buffers alone", () => {
  // A device that can hold more than it can bind.
  const limits = { maxBufferSize: 1 << 20, maxStorageBufferBindingSize: 1 << 10 };
  const created: GPUBufferDescriptor[] = [];
  const createBuffer = (descriptor: GPUBufferDescriptor) => {
    created.push(descriptor);
    return device.handle.createBuffer(descriptor);
  };
  const narrow = new BufferLedger({ limits, createBuffer } as unknown as GPUDevice);
  const { STORAGE, MAP_READ, COPY_DST } = GPUBufferUsage;
  expect(() => narrow.allocate("a", "b", 1028, STORAGE)).toThrow("at most 1024");
  narrow.allocate("a", "b", 1024, STORAGE);
  narrow.allocate("a", "c", 1028, MAP_READ | COPY_DST);
  expect(() => narrow.allocate("a", "d", (1 << 20) + 1, COPY_DST)).toThrow("at most 1048576");
  expect(created.map(({ size }) => size)).toEqual([1024, 1028]);
  narrow.releaseAll();
});
