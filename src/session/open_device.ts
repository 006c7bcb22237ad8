/** The device of a load, and the one after it. */

import { defaultGpu, gpuBackend, noAdapterAdvice } from "#platform";
import { abortable } from "../abortable.ts";
import { GpuUnavailableError } from "../errors.ts";
import { Device } from "../gpu/device.ts";
import { pause } from "../sources/retry.ts";
import type { LoadOptions } from "../types.ts";

/** How long is waited before an adapter is asked for again, the first time and the last; each time twice as long. */
const FIRST_WAIT_MS = 100;
const LAST_WAIT_MS = 6400;

/** A device that an abort does not wait for; one that comes too late is disposed of. */
export async function openDevice(gpu: LoadOptions["gpu"], signal: AbortSignal | undefined): Promise<Device> {
  const opening = gpu
    ? Device.open(gpu as GPU)
    : defaultGpu().then((found) => Device.open(found, gpuBackend(), noAdapterAdvice));
  try {
    return await abortable(opening, signal);
  } catch (error) {
    opening.then(
      (late) => late.dispose(),
      () => {},
    );
    throw error;
  }
}

/**
 * The same where there was a device a moment ago. While a browser starts its crashed GPU process anew, or a driver is reset, there is no
 * adapter: it is asked for again, for 13 seconds.
 * @throws GpuUnavailableError when there is none then either; the signal's reason
 */
export async function openDeviceAgain(gpu: LoadOptions["gpu"], signal: AbortSignal): Promise<Device> {
  for (let waitMs = FIRST_WAIT_MS; ; waitMs *= 2) {
    try {
      return await openDevice(gpu, signal);
    } catch (error) {
      if (!(error instanceof GpuUnavailableError) || waitMs > LAST_WAIT_MS) throw error;
    }
    await pause(waitMs, signal);
  }
}
