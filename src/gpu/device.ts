/**
 * The device: adapter and limits, errors that surface, submissions and readbacks that are counted.
 *
 * Nothing here knows of language models.
 */

import { DeviceLostError, DisposedError, GpuError, GpuMemoryError, GpuUnavailableError } from "../errors.ts";
import { Recorder } from "./commands.ts";
import type { DeviceInfo } from "./device_info.ts";
import { scoped } from "./error_scope.ts";
import { BufferLedger } from "./ledger.ts";
import { PipelineCache } from "./pipelines.ts";
import { BufferUsage, MAP_MODE_READ } from "./usage.ts";

/** How long a lost device may take to tell that it is. */
const LOSS_TOLD_WITHIN_MS = 2000;

/** Limits we ask for as far as the adapter offers them; the kernels work within WebGPU's defaults. */
const WANTED_LIMITS = ["maxBufferSize", "maxStorageBufferBindingSize", "maxComputeWorkgroupStorageSize"] as const;

/** Features we ask for where the adapter offers them; no kernel is without a variant that needs none. */
const WANTED_FEATURES = ["subgroups"] as const;

/** Adapters that compute on the CPU. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|microsoft basic render|warp/i;

function describe(adapter: GPUAdapter, backend: string): DeviceInfo {
  const { info, limits } = adapter;
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    description: info.description,
    backend,
    features: [...adapter.features].map(String).sort(),
    software: info.isFallbackAdapter === true || SOFTWARE.test(`${info.architecture} ${info.description}`),
    ...(info.subgroupMinSize && { subgroupMinSize: info.subgroupMinSize }),
    limits: {
      maxBufferSize: limits.maxBufferSize,
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
      maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    },
  };
}

/** The kernel that a GPU error message is about, or else the buffer: their labels are their names. */
function labelIn(message: string): string | undefined {
  const kernel = /(?:Pipeline|BindGroup|BindGroupDescriptor) "+([^"{]+)/.exec(message);
  const buffer = /Buffer "([^"]+)/.exec(message);
  return (kernel ?? buffer)?.[1]?.trim();
}

/** @param label what was asked of the device, for messages that name neither kernel nor buffer */
function gpuError({ message }: GPUError, label: string): GpuError {
  return new GpuError(labelIn(message) ?? label, message);
}

export class Device {
  readonly handle: GPUDevice;
  readonly info: DeviceInfo;
  readonly ledger: BufferLedger;
  readonly pipelines: PipelineCache;
  /** Queue submissions so far. */
  submits = 0;
  /** Buffers mapped and read so far. */
  readbacks = 0;
  /** Bytes read back so far. */
  readbackBytes = 0;
  /** What went wrong outside a call that could report it. A lost device stays lost; an error is told once. */
  #failure: GpuError | undefined;
  #lost: DeviceLostError | undefined;
  /** Settled when the errors of the last submission are known. */
  #submitted: Promise<void> = Promise.resolve();
  #disposed = false;
  readonly #hear = (event: GPUUncapturedErrorEvent) => {
    event.preventDefault();
    this.#failure ??= gpuError(event.error, "device");
  };
  /** The entry point, kept alive with the device: Dawn in Node crashes when it is collected first. */
  readonly gpu: GPU;

  private constructor(gpu: GPU, handle: GPUDevice, info: DeviceInfo) {
    this.gpu = gpu;
    this.handle = handle;
    this.info = info;
    this.ledger = new BufferLedger(handle);
    this.pipelines = new PipelineCache(handle);
    handle.addEventListener("uncapturederror", this.#hear);
    handle.lost.then((lost) => {
      if (!this.#disposed) this.#lost = new DeviceLostError(lost.message || lost.reason);
    });
  }

  /**
   * Opens the best adapter.
   * @param backend the graphics API behind `gpu`, which WebGPU itself does not tell
   * @param advice what to do where there is no adapter
   * @throws GpuUnavailableError when there is none
   */
  static async open(gpu: GPU, backend = "webgpu", advice = "is a GPU driver installed?"): Promise<Device> {
    const refused = (what: string) => (cause: unknown) => {
      throw new GpuUnavailableError(`${what} failed: ${cause instanceof Error ? cause.message : cause}`, { cause });
    };
    const adapter = await gpu
      .requestAdapter({ powerPreference: "high-performance" })
      .catch(refused("asking for a GPU adapter"));
    if (!adapter) {
      throw new GpuUnavailableError(`no GPU adapter was found: ${advice}`);
    }
    const requiredLimits: Record<string, number> = {};
    for (const limit of WANTED_LIMITS) requiredLimits[limit] = adapter.limits[limit];
    const handle = await adapter
      .requestDevice({
        label: "layerleap",
        requiredLimits,
        requiredFeatures: WANTED_FEATURES.filter((feature) => adapter.features.has(feature)),
      })
      .catch(refused("asking the adapter for a device"));
    return new Device(gpu, handle, describe(adapter, backend));
  }

  /** The adapter that `open` would take; undefined where there is none. */
  static async look(gpu: GPU, backend = "webgpu"): Promise<DeviceInfo | undefined> {
    const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
    return adapter ? describe(adapter, backend) : undefined;
  }

  /** That it is lost, once that is known; a device that was disposed of before is not. */
  get lost(): DeviceLostError | undefined {
    return this.#lost;
  }

  /**
   * Throws what went wrong since the last look: a validation error (told once), a lost device (told for good).
   * @throws GpuError | DeviceLostError | DisposedError
   */
  check(): void {
    if (this.#lost) throw this.#lost;
    if (this.#disposed) throw new DisposedError();
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure) throw failure;
  }

  /**
   * Submits one recording. Its errors surface at the next `read`, or at a `check` some time later.
   *
   * They are caught by an error scope: its answer is there with the results, which an uncaptured-error event need not be.
   */
  submit(recorder: Recorder): void {
    this.#submitted = this.submitOwn(recorder).then((error) => {
      if (error) this.#failure ??= error;
    });
  }

  /**
   * The same for work beside which other work is submitted.
   * @returns what was wrong with it, which nobody else is told
   */
  submitOwn(recorder: Recorder): Promise<GpuError | undefined> {
    this.check();
    const { value, error } = scoped(this.handle, "validation", () => this.#submit(recorder));
    const told = error.then((each) => (each ? gpuError(each, recorder.label) : undefined));
    value();
    return told;
  }

  #submit(recorder: Recorder): void {
    this.handle.queue.submit([recorder.finish()]);
    this.submits++;
  }

  /**
   * Records, submits and reads back, for work that stands beside other work: its errors are thrown here and told to nobody
   * else.
   * @param record allocates, binds and records, without waiting; returns the buffers that are read, whole
   * @throws GpuError | DeviceLostError | DisposedError when the work failed
   */
  async run(label: string, record: (recorder: Recorder) => readonly GPUBuffer[]): Promise<ArrayBuffer[]> {
    this.check();
    const { value, error } = scoped(this.handle, "validation", () => {
      const recorder = new Recorder(this.handle, label);
      const buffers = record(recorder);
      this.#submit(recorder);
      return buffers;
    });
    // To the end, so that no buffer is read any more when the caller releases it.
    const reads = await Promise.allSettled(value().map((buffer) => this.read(buffer, buffer.size)));
    const told = await error;
    this.check();
    if (told) throw gpuError(told, label);
    return reads.map((read) => {
      if (read.status === "rejected") throw read.reason;
      return read.value;
    });
  }

  /**
   * The whole contents of a buffer that can be copied from.
   * @throws GpuError | DeviceLostError | DisposedError when they cannot be read
   */
  async contents(buffer: GPUBuffer): Promise<ArrayBuffer> {
    const { MAP_READ, COPY_DST } = BufferUsage;
    const copy = this.ledger.allocate("readback", buffer.label, buffer.size, MAP_READ | COPY_DST);
    try {
      const [bytes] = await this.run(`read ${buffer.label}`, (recorder) => {
        recorder.copy(buffer, 0, copy, 0, buffer.size);
        return [copy];
      });
      return bytes!;
    } finally {
      this.ledger.release(copy);
    }
  }

  /**
   * Maps a buffer, copies `bytes` bytes out of it and unmaps it.
   * @param own what was wrong with the work that filled it, where it was submitted beside other work
   * @throws GpuError | DeviceLostError | DisposedError when the work before it failed
   */
  async read(buffer: GPUBuffer, bytes: number, own?: Promise<GpuError | undefined>): Promise<ArrayBuffer> {
    let failed: GpuError | undefined;
    try {
      [failed] = await Promise.all([own, buffer.mapAsync(MAP_MODE_READ, 0, bytes), this.#submitted]);
    } catch (cause) {
      // A lost device rejects the map first and tells why a moment later.
      await Promise.race([this.handle.lost, new Promise((resolve) => setTimeout(resolve, LOSS_TOLD_WITHIN_MS))]);
      this.check();
      throw new GpuError(buffer.label, "the results could not be read back", { cause });
    }
    try {
      this.check();
      if (failed) throw failed;
      this.readbacks++;
      this.readbackBytes += bytes;
      return buffer.getMappedRange(0, bytes).slice(0);
    } finally {
      buffer.unmap();
    }
  }

  /**
   * Runs `allocate` and makes sure that the memory it asked for is really there. Where it is not, nothing stays booked.
   * @throws GpuMemoryError | GpuError naming what was wanted
   */
  async allocating<T>(what: string, neededBytes: number, allocate: () => T): Promise<T> {
    this.check();
    let added: GPUBuffer[] = [];
    const collecting = () => {
      const { result, buffers } = this.ledger.collecting(allocate);
      added = buffers;
      return result();
    };
    const inner = scoped(this.handle, "validation", () => scoped(this.handle, "out-of-memory", collecting));
    const attempt = inner.value();
    const [memory, validation] = await Promise.all([attempt.error, inner.error]);
    const releaseAll = () => {
      for (const buffer of added) this.ledger.release(buffer);
    };
    if (memory || validation) releaseAll();
    let value: T;
    try {
      value = attempt.value();
    } catch (error) {
      releaseAll();
      throw error;
    }
    if (memory) {
      const { bytes } = this.ledger.report();
      const reason = `the device, on which ${bytes} bytes are held already, refused it (${memory.message})`;
      throw new GpuMemoryError(what, neededBytes, reason);
    }
    if (validation) throw new GpuError(what, validation.message);
    return value;
  }

  /** Frees every buffer and the device. Safe to call twice. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.ledger.close();
    this.handle.destroy();
    // In Node a device and what listens to it hold each other outside the garbage collector's sight: neither would ever go.
    this.handle.removeEventListener("uncapturederror", this.#hear);
  }
}
