/**
 * What this device reaches at best: a plain streaming copy, a plain stream of reads, and multiplications and additions in
 * registers (shaders/bench/), each with a few sizes. Kernels are told as fractions of these, measured in the same run.
 */

import copy from "../../shaders/bench/copy.wgsl?raw";
import fma from "../../shaders/bench/fma.wgsl?raw";
import read from "../../shaders/bench/read.wgsl?raw";
import type { Recorder } from "../../src/gpu/commands.ts";
import type { Device } from "../../src/gpu/device.ts";
import { BufferUsage } from "../../src/gpu/usage.ts";
import { Kernel } from "../../src/kernels/kernel.ts";
import { Filler } from "./filler.ts";
import { pairwise, type Spread, spread } from "./statistics.ts";
import type { Timed, Times } from "./timing.ts";

export type CeilingName = "copy" | "read" | "fma";

/** A way of reaching for a ceiling. */
export interface Attempt extends Timed {
  ceiling: CeilingName;
  /** Its sizes, for people. */
  sizes: string;
  /** Bytes read and written, or floating-point operations, a call. */
  amount: number;
}

/** A ceiling as it was measured: that of the attempt with the best median. */
export interface Ceiling {
  /** GB/s, or GFLOP/s of `fma`. */
  rate: Spread;
  sizes: string;
  /** Rate of each repetition. */
  rates: number[];
}

/** Bytes of the buffer that is copied or read. A software adapter takes long for many. */
const STREAM_BYTES = { hardware: 256 * 2 ** 20, software: 32 * 2 ** 20 };
const WORKGROUPS = [64, 128, 256];
/** vec4 of a stream a thread takes: few enough workgroups for WebGPU's limit of 65,535. */
const PER_THREAD = 8;
/** Independent vec4 of sums a thread has under way. */
const CHAINS = 4;
const FMA_THREADS = { hardware: 2 ** 18, software: 2 ** 16 };
/** Steps of a chain: so many that starting a dispatch does not show on a large GPU, and that a CPU ends soon. */
const FMA_STEPS = { hardware: 4096, software: 32 };
/** x * 0.999 + 0.001 stays where it is. */
const FMA_NUMBERS = new Float32Array([0.999, 0.001, 0, 0]);

const OWNER = "ceilings";

/** Compiles all attempts and allocates their buffers, under the owner `ceilings`. */
export async function prepareCeilings(device: Device): Promise<Attempt[]> {
  const { info, ledger, handle } = device;
  const kind = info.software ? "software" : "hardware";
  const bytes = Math.min(STREAM_BYTES[kind], floorPower(info.limits.maxStorageBufferBindingSize));
  const { STORAGE, UNIFORM, COPY_DST } = BufferUsage;
  const source = ledger.allocate(OWNER, "source", bytes, STORAGE | COPY_DST);
  new Filler(device).floats(source);
  const copied = ledger.allocate(OWNER, "copied", bytes, STORAGE);
  const unlikely = ledger.allocate(OWNER, "unlikely", 4, STORAGE);
  const numbers = ledger.allocate(OWNER, "numbers", FMA_NUMBERS.byteLength, UNIFORM | COPY_DST);
  handle.queue.writeBuffer(numbers, 0, FMA_NUMBERS);

  const prepared: Promise<Attempt>[] = [];
  for (const WORKGROUP of WORKGROUPS.filter((size) => size <= info.limits.maxComputeInvocationsPerWorkgroup)) {
    const streamGroups = bytes / 16 / (WORKGROUP * PER_THREAD);
    const ofThreads = `${WORKGROUP} threads`;
    const copyKernel = new Kernel(
      device,
      { name: "bench/copy", code: [copy], bindings: { source: "read", copied: "read-write" } },
      { WORKGROUP, PER_THREAD },
    );
    prepared.push(attempt(copyKernel, { source, copied }, streamGroups, "copy", ofThreads, 2 * bytes));
    const readKernel = new Kernel(
      device,
      { name: "bench/read", code: [read], bindings: { source: "read", unlikely: "read-write" } },
      { WORKGROUP, PER_THREAD },
    );
    prepared.push(attempt(readKernel, { source, unlikely }, streamGroups, "read", ofThreads, bytes));
    const fmaKernel = new Kernel(
      device,
      { name: "bench/fma", code: [fma], bindings: { numbers: "uniform", unlikely: "read-write" } },
      { WORKGROUP, CHAINS, STEPS: FMA_STEPS[kind] },
    );
    const fmaGroups = FMA_THREADS[kind] / WORKGROUP;
    const operations = FMA_THREADS[kind] * FMA_STEPS[kind] * CHAINS * 4 * 2;
    prepared.push(attempt(fmaKernel, { numbers, unlikely }, fmaGroups, "fma", ofThreads, operations));
  }
  return Promise.all(prepared);
}

async function attempt<B extends string>(
  kernel: Kernel<B>,
  buffers: Readonly<Record<B, GPUBuffer>>,
  workgroups: number,
  ceiling: CeilingName,
  sizes: string,
  amount: number,
): Promise<Attempt> {
  await kernel.prepare();
  const group = kernel.bind(buffers);
  const record = (recorder: Recorder) => kernel.record(recorder, group, undefined, [workgroups]);
  return { ceiling, sizes, amount, record };
}

/** The best attempt at each ceiling. */
export function bestOf(attempts: readonly Attempt[], times: readonly Times[]): Record<CeilingName, Ceiling> {
  const best = (name: CeilingName): Ceiling => {
    const reached = attempts.flatMap(({ ceiling, sizes, amount }, i) => {
      if (ceiling !== name) return [];
      // Amounts a millisecond, in units of 10^9 a second.
      const rates = times[i]!.ms.map((ms) => amount / ms / 1e6);
      return [{ rate: spread(rates), sizes, rates }];
    });
    return reached.reduce((most, other) => (other.rate.median > most.rate.median ? other : most));
  };
  return { copy: best("copy"), read: best("read"), fma: best("fma") };
}

/** Rates as fractions of a ceiling, repetition by repetition. */
export function fractionsOf(ceiling: Ceiling, rates: readonly number[]): Spread {
  return spread(pairwise(rates, ceiling.rates, (rate, most) => rate / most));
}

function floorPower(value: number): number {
  return 2 ** Math.floor(Math.log2(value));
}
