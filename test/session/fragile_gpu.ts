/** The real GPU, whose devices can be lost on purpose. */

import { defaultGpu } from "../../src/platform/node.ts";
import { altered } from "../kernels/miscompile.ts";

export interface FragileGpu {
  gpu: GPU;
  /** Destroys the device that was given last, as a driver's reset would. */
  lose(): void;
  /** Devices given so far. */
  devices(): number;
  /** Buffers that were made and not destroyed, of each. */
  liveBuffers(): number[];
  /** So many times there is no adapter. */
  withholdAdapters(times: number): void;
  /** Calls when the next device is given. */
  onDevice(then: () => void): void;
}

export async function fragileGpu(): Promise<FragileGpu> {
  const gpu = await defaultGpu();
  const given: { device: GPUDevice; live: Set<GPUBuffer> }[] = [];
  let withheld = 0;
  let heard = () => {};
  const requestAdapter: GPU["requestAdapter"] = async (options) => {
    if (withheld > 0) {
      withheld--;
      return null;
    }
    const adapter = (await gpu.requestAdapter(options))!;
    return altered(adapter, {
      requestDevice: async (descriptor) => {
        const device = await adapter.requestDevice(descriptor);
        given.push({ device, live: counted(device) });
        heard();
        return device;
      },
    });
  };
  return {
    gpu: altered(gpu, { requestAdapter }),
    lose: () => given.at(-1)!.device.destroy(),
    devices: () => given.length,
    liveBuffers: () => given.map(({ live }) => live.size),
    withholdAdapters: (times) => {
      withheld = times;
    },
    onDevice: (then) => {
      heard = () => {
        heard = () => {};
        then();
      };
    },
  };
}

/** Keeps count of a device's buffers. */
function counted(device: GPUDevice): Set<GPUBuffer> {
  const live = new Set<GPUBuffer>();
  const createBuffer = device.createBuffer.bind(device);
  const value = (descriptor: GPUBufferDescriptor) => {
    const buffer = createBuffer(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    live.add(buffer);
    Object.defineProperty(buffer, "destroy", {
      value: () => {
        live.delete(buffer);
        destroy();
      },
    });
    return buffer;
  };
  Object.defineProperty(device, "createBuffer", { value });
  return live;
}
