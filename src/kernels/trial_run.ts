/**
 * A run of a kernel on small numbers, for the checks before its first use: buffers are filled, the work is recorded, what
 * came of it is read, and every buffer is given back. Runs may stand side by side: each has its own errors.
 */

import { GpuError } from "../errors.ts";
import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";

type Words = Uint32Array<ArrayBuffer>;
type Data = Words | Float32Array<ArrayBuffer>;

/** What a trial is recorded with. */
export interface TrialRun {
  recorder: Recorder;
  /** A storage buffer that holds `data`. */
  storage(name: string, data: Data): GPUBuffer;
  /** A storage buffer of zeros. */
  scratch(name: string, bytes: number): GPUBuffer;
  uniform(name: string, data: Data): GPUBuffer;
}

/**
 * @param owner whom the buffers are booked under
 * @param record makes the buffers, records the work without waiting, and returns the storage buffers that are read
 * @returns what those hold afterwards
 * @throws GpuError when the device refuses the work
 */
export async function runTrial(
  device: Device,
  owner: string,
  record: (run: TrialRun) => readonly GPUBuffer[],
): Promise<Words[]> {
  const { STORAGE, UNIFORM, COPY_DST, COPY_SRC, MAP_READ } = BufferUsage;
  const held: GPUBuffer[] = [];
  const allocate = (name: string, bytes: number, usage: number) => {
    const buffer = device.ledger.allocate(owner, name, bytes, usage);
    held.push(buffer);
    return buffer;
  };
  const filled = (name: string, data: Data, usage: number) => {
    const buffer = allocate(name, data.byteLength, usage | COPY_DST);
    device.handle.queue.writeBuffer(buffer, 0, data);
    return buffer;
  };
  try {
    const results = await device.run(owner, (recorder) => {
      const buffers = record({
        recorder,
        storage: (name, data) => filled(name, data, STORAGE | COPY_SRC),
        scratch: (name, bytes) => allocate(name, bytes, STORAGE | COPY_SRC),
        uniform: (name, data) => filled(name, data, UNIFORM),
      });
      return buffers.map((buffer) => {
        const read = allocate(`read ${buffer.label}`, buffer.size, MAP_READ | COPY_DST);
        recorder.copy(buffer, 0, read, 0, buffer.size);
        return read;
      });
    });
    return results.map((bytes) => new Uint32Array(bytes));
  } finally {
    for (const buffer of held) device.ledger.release(buffer);
  }
}

/**
 * The first number that is further from the expected one than its tolerance, in words.
 * @param nameOf what a number is called, by its place
 * @param tolerance 0 where none is given
 */
export function firstDifference(
  got: ArrayLike<number>,
  expected: ArrayLike<number>,
  nameOf: (index: number) => string,
  tolerance: ArrayLike<number> = [],
): string | undefined {
  for (let i = 0; i < expected.length; i++) {
    const bound = tolerance[i] ?? 0;
    if (Math.abs(got[i]! - expected[i]!) <= bound) continue; // NaN fails
    return `${nameOf(i)}: ${got[i]}, expected ${expected[i]}${bound > 0 ? ` within ${bound}` : ""}`;
  }
  return undefined;
}

/** @throws GpuError when there is a fault */
export function requireRight(kernel: string, fault: string | undefined): void {
  if (fault !== undefined) throw new GpuError(kernel, `it computes wrong numbers on this device: ${fault}`);
}
