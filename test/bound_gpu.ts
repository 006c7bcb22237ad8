/** GPUs that bind less than this machine's does. */

import { altered } from "./kernels/miscompile.ts";

const MIB = 2 ** 20;

/** WebGPU's default for what one binding may hold. */
export const DEFAULT_BINDING = 128 * MIB;

/** An entry point whose adapters and devices bind at most so many bytes, and hold WebGPU's default of 256 MiB a buffer. */
export function bindingAtMost(gpu: GPU, bytes: number): GPU {
  const bounds = { maxBufferSize: 256 * MIB, maxStorageBufferBindingSize: bytes };
  const requestAdapter: GPU["requestAdapter"] = async (options) => {
    const adapter = await gpu.requestAdapter(options);
    return (
      adapter &&
      altered(adapter, {
        limits: altered(adapter.limits, bounds),
        requestDevice: async (descriptor) => {
          const device = await adapter.requestDevice(descriptor);
          // A device is never given less than the defaults: it only says so.
          Object.defineProperty(device, "limits", { value: altered(device.limits, bounds) });
          return device;
        },
      })
    );
  };
  return altered(gpu, { requestAdapter });
}
