/** How much memory a device may have for a model. WebGPU does not tell. */

import { machineBytes } from "#platform";
import type { DeviceInfo } from "../gpu/device_info.ts";

/** Adapters bind buffers of a quarter of their memory or more; none has less than it binds at once. */
const BUFFERS = 4;

/**
 * Half of the machine's memory, which an integrated GPU shares and a software adapter computes in, and of which a discrete one
 * mostly has as much of its own; but no more than a few of the largest buffers that the adapter makes.
 */
export function memoryFor({ limits, software }: DeviceInfo): number {
  const half = machineBytes() / 2;
  return software ? half : Math.min(half, BUFFERS * limits.maxBufferSize);
}
