/** The test bench itself: workers reach a WebGPU device through Dawn and compute on it. */

import { expect, test } from "vitest";
import { create, globals } from "webgpu";

// Dawn's instance must not be collected while its objects are in use.
const gpu = create([]);
Object.assign(globalThis, globals);

const WORKGROUP_SIZE = 64;

test("a kernel computes on the device and its result comes back", async () => {
  const adapter = await gpu.requestAdapter();
  expect(adapter, "an adapter").not.toBeNull();
  const device = await adapter!.requestDevice();
  try {
    const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
    const input = new Uint32Array(1000).map(() => Math.floor(Math.random() * 2 ** 31));
    const values = device.createBuffer({ size: input.byteLength, usage: STORAGE | COPY_SRC | COPY_DST });
    const readback = device.createBuffer({ size: input.byteLength, usage: MAP_READ | COPY_DST });
    const pipeline = await device.createComputePipelineAsync({
      layout: "auto",
      compute: {
        module: device.createShaderModule({
          code: `
            @group(0) @binding(0) var<storage, read_write> values: array<u32>;
            @compute @workgroup_size(${WORKGROUP_SIZE})
            fn main(@builtin(global_invocation_id) id: vec3u) {
              if (id.x < arrayLength(&values)) { values[id.x] = 2u * values[id.x] + 1u; }
            }`,
        }),
      },
    });
    const bindGroup = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: values } }],
    });

    device.queue.writeBuffer(values, 0, input);
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(Math.ceil(input.length / WORKGROUP_SIZE));
    pass.end();
    encoder.copyBufferToBuffer(values, 0, readback, 0, input.byteLength);
    device.queue.submit([encoder.finish()]);

    await readback.mapAsync(GPUMapMode.READ);
    const output = new Uint32Array(readback.getMappedRange().slice(0));
    readback.unmap();
    expect(output).toEqual(input.map((value) => 2 * value + 1));
  } finally {
    device.destroy();
  }
});
