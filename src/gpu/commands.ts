/**
 * Recording: a `Recorder` collects the dispatches and copies of one submission and counts them.
 *
 * Consecutive dispatches share one compute pass; WebGPU orders dispatches within a pass by their buffers' use.
 */

export class Recorder {
  readonly #encoder: GPUCommandEncoder;
  #pass: GPUComputePassEncoder | undefined;
  /** Dispatches recorded so far. */
  dispatches = 0;
  /** Workgroups of them all. */
  workgroups = 0;
  /** Bytes of constant data that they stream, as far as kernels told: a count, for what a memory bound device pays. */
  streamedBytes = 0;

  /** What is recorded, for messages. */
  readonly label: string;

  constructor(device: GPUDevice, label: string) {
    this.label = label;
    this.#encoder = device.createCommandEncoder({ label });
  }

  /**
   * Records one dispatch.
   * @param offset byte offset of the kernel's `offset-uniform`, where it has one
   * @param grid workgroups in x, y, z
   */
  dispatch(
    pipeline: GPUComputePipeline,
    group: GPUBindGroup,
    offset: number | undefined,
    grid: readonly [number, number?, number?],
  ): void {
    this.#pass ??= this.#encoder.beginComputePass();
    this.#pass.setPipeline(pipeline);
    this.#pass.setBindGroup(0, group, offset === undefined ? [] : [offset]);
    this.#pass.dispatchWorkgroups(grid[0], grid[1] ?? 1, grid[2] ?? 1);
    this.dispatches++;
    this.workgroups += grid[0] * (grid[1] ?? 1) * (grid[2] ?? 1);
  }

  /** Records a copy of `bytes` bytes between two buffers. */
  copy(from: GPUBuffer, fromOffset: number, to: GPUBuffer, toOffset: number, bytes: number): void {
    this.#endPass();
    this.#encoder.copyBufferToBuffer(from, fromOffset, to, toOffset, bytes);
  }

  /** Ends the recording. */
  finish(): GPUCommandBuffer {
    this.#endPass();
    return this.#encoder.finish();
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }
}
