/** A device of so many bytes: the real one, whose out-of-memory scopes hear of a buffer that would be too much. */

import { defaultGpu } from "../../src/platform/node.ts";

export interface FullDevice {
  gpu: GPU;
  /** The most bytes that were there while a scope asked for more. */
  peakBytes(): number;
}

/** @param limitBytes what all buffers may take together */
export async function deviceOf(limitBytes: number): Promise<FullDevice> {
  const gpu = await defaultGpu();
  let peak = 0;

  const limited = (device: GPUDevice): void => {
    const scopes: { filter: GPUErrorFilter; isFull: boolean }[] = [];
    let live = 0;
    const createBuffer = device.createBuffer.bind(device);
    const pushErrorScope = device.pushErrorScope.bind(device);
    const popErrorScope = device.popErrorScope.bind(device);
    Object.defineProperties(device, {
      createBuffer: {
        value(descriptor: GPUBufferDescriptor) {
          const buffer = createBuffer(descriptor);
          const destroy = buffer.destroy.bind(buffer);
          live += descriptor.size;
          Object.defineProperty(buffer, "destroy", {
            value() {
              live -= descriptor.size;
              destroy();
            },
          });
          const scope = scopes.findLast(({ filter }) => filter === "out-of-memory");
          if (scope) {
            peak = Math.max(peak, live);
            scope.isFull ||= live > limitBytes;
          }
          return buffer;
        },
      },
      pushErrorScope: {
        value(filter: GPUErrorFilter) {
          scopes.push({ filter, isFull: false });
          pushErrorScope(filter);
        },
      },
      popErrorScope: {
        value() {
          const isFull = scopes.pop()?.isFull;
          const popped = popErrorScope();
          return isFull ? popped.then(() => ({ message: "not enough memory left" })) : popped;
        },
      },
    });
  };

  const limitedAdapter = (adapter: GPUAdapter): GPUAdapter =>
    new Proxy(adapter, {
      get(target, name) {
        if (name !== "requestDevice") return Reflect.get(target, name, target);
        return async (descriptor: GPUDeviceDescriptor) => {
          const device = await target.requestDevice(descriptor);
          limited(device);
          return device;
        };
      },
    });

  const limitedGpu: GPU = Object.create(gpu, {
    requestAdapter: {
      value: async (options?: GPURequestAdapterOptions) => {
        const adapter = await gpu.requestAdapter(options);
        return adapter && limitedAdapter(adapter);
      },
    },
  });
  return { gpu: limitedGpu, peakBytes: () => peak };
}
