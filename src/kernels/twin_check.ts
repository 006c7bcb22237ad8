/**
 * The bit check: does row r of an M-row pipeline equal the same row of the one-row pipeline on this device?
 *
 * WGSL lets a compiler fuse or reorder `a * b + c`, differently in two pipelines. Where it does, near-ties flip between
 * drafting and verifying, so a bucket that fails this check is not used.
 */

import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { WORKGROUP } from "./constants.ts";
import { groups, type Kernel } from "./kernel.ts";
import { columnsOf, type MatmulBinding, type MatmulForm, matmulShape } from "./matmul_form.ts";
import { encodeRanges } from "./rows.ts";

type MatmulKernel = Kernel<MatmulBinding>;

const OWNER = "twin-check";
/** Sizes that are no multiple of a vector width of any compiler, and long enough for an unrolled loop to show. */
const INPUT_SIZE = 172;
const OUTPUT_SIZE = 70;

/** Numbers of mixed size and sign, so that every rounding of a sum shows. Deterministic: the same check everywhere. */
function numbers(count: number): Float32Array<ArrayBuffer> {
  let state = 0x9e3779b9;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * 2 ** ((state >>> 8) % 5);
  });
}

/**
 * Runs M rows as one pass of the M-row pipeline and as M passes of the one-row pipeline, and compares the outputs' bits.
 * Both kernels must be prepared.
 */
export async function matchesOneRowTwin(
  device: Device,
  form: MatmulForm,
  oneRow: MatmulKernel,
  manyRows: MatmulKernel,
  count: number,
): Promise<boolean> {
  const { STORAGE, UNIFORM, COPY_DST, COPY_SRC, MAP_READ } = BufferUsage;
  const { ledger, handle } = device;
  // The one-row passes take the ranges 0 .. count - 1, the many-row pass the last one.
  const alonePasses = Array.from({ length: count }, (_, r) => ({ first: r, count: 1, linear: 0 }));
  const ranges = encodeRanges([...alonePasses, { first: 0, count, linear: 0 }]);

  const filled = (name: string, data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>, usage: number) => {
    const buffer = ledger.allocate(OWNER, name, data.byteLength, usage | COPY_DST);
    handle.queue.writeBuffer(buffer, 0, data);
    return buffer;
  };
  // An argmax candidate takes two words; the others need fewer.
  const outputBytes = count * OUTPUT_SIZE * 8;
  // Not zeros: what the add form adds to must show where a compiler makes it the first summand.
  const output = (name: string) => filled(name, numbers(outputBytes / 4), STORAGE | COPY_SRC);
  const readback = (name: string) => ledger.allocate(OWNER, name, outputBytes, MAP_READ | COPY_DST);

  const shared = {
    range: filled("ranges", ranges, UNIFORM),
    shape: filled("shape", matmulShape(form, INPUT_SIZE, OUTPUT_SIZE), UNIFORM),
    weight: filled("weight", numbers(INPUT_SIZE * OUTPUT_SIZE * columnsOf(form)), STORAGE),
    input: filled("input", numbers(count * INPUT_SIZE), STORAGE),
  };
  const alone = output("alone");
  const together = output("together");
  const reads = [readback("read alone"), readback("read together")] as const;

  try {
    const recorder = new Recorder(handle, OWNER);
    const columns = groups(OUTPUT_SIZE, WORKGROUP);
    const aloneGroup = oneRow.bind({ ...shared, output: alone });
    for (let r = 0; r < count; r++) oneRow.record(recorder, aloneGroup, r, [columns]);
    manyRows.record(recorder, manyRows.bind({ ...shared, output: together }), count, [columns]);
    recorder.copy(alone, 0, reads[0], 0, outputBytes);
    recorder.copy(together, 0, reads[1], 0, outputBytes);
    device.submit(recorder);
    const [a, b] = await Promise.all(reads.map((buffer) => device.read(buffer, outputBytes)));
    const left = new Uint32Array(a!);
    const right = new Uint32Array(b!);
    return left.every((word, i) => word === right[i]);
  } finally {
    for (const buffer of [...Object.values(shared), alone, together, ...reads]) ledger.release(buffer);
  }
}
