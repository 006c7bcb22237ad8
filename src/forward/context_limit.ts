/**
 * How long a context a device admits: the buffers below grow with it, and each is bound whole.
 *
 * Where one is too large, a shorter context is what helps, so the error is about that and not about the buffer.
 */

import { InputError } from "../errors.ts";
import { KEYS_PER_CHUNK, PAGE_SLOTS, ROW_CAPACITY } from "../kernels/constants.ts";
import { KV_BYTES, type KvType } from "../kernels/kv_format.ts";
import type { ModelSpec } from "../model/spec.ts";

/** A buffer that takes so many bytes for each so many positions. */
interface Growing {
  what: string;
  bytes: number;
  positions: number;
}

/** Values are as large as keys; attention's partial softmax, two numbers a head and chunk, is smaller than its sums. */
function growing({ heads, kvHeads, headDim }: ModelSpec, kv: KvType): Growing[] {
  return [
    { what: "a layer's keys", bytes: PAGE_SLOTS * kvHeads * headDim * KV_BYTES[kv], positions: PAGE_SLOTS },
    { what: "the rotations of positions", bytes: headDim * 4, positions: 1 },
    { what: "attention's partial sums", bytes: ROW_CAPACITY * heads * headDim * 4, positions: KEYS_PER_CHUNK },
  ];
}

/**
 * @param bindableBytes the most that the device binds as one buffer
 * @param caller the public function whose option it was
 * @throws InputError for a context whose buffers the device cannot bind: it says how long one may be
 */
export function requireContext(
  bindableBytes: number,
  spec: ModelSpec,
  contextLength: number,
  kv: KvType,
  caller = "load",
): void {
  const longest = ({ bytes, positions }: Growing) => Math.floor(bindableBytes / bytes) * positions;
  const tightest = growing(spec, kv).reduce((a, b) => (longest(b) < longest(a) ? b : a));
  if (contextLength <= longest(tightest)) return;
  const { what, bytes, positions } = tightest;
  const needed = Math.ceil(contextLength / positions) * bytes;
  throw new InputError({
    file: caller,
    field: "contextLength",
    found: String(contextLength),
    expected:
      `at most ${longest(tightest)} on this device: ` +
      `${what} would take ${needed} bytes and it binds at most ${bindableBytes}`,
  });
}

/**
 * @throws InputError for more tokens than the device binds a layer's keys of: it says how many those may be
 */
export function requireKvBudget(
  bindableBytes: number,
  { kvHeads, headDim }: ModelSpec,
  kvBudget: number,
  kv: KvType,
  caller = "load",
): void {
  const pageBytes = PAGE_SLOTS * kvHeads * headDim * KV_BYTES[kv];
  const most = Math.floor(bindableBytes / pageBytes) * PAGE_SLOTS;
  if (kvBudget <= most) return;
  const expected = `at most ${most} on this device: it binds at most ${bindableBytes} bytes of a layer's keys`;
  throw new InputError({ file: caller, field: "kvBudget", found: String(kvBudget), expected });
}
