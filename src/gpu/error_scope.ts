/**
 * Error scopes. A device has one stack of them: what runs side by side must not pop each other's. Here a scope is opened
 * and closed around a call that cannot wait, and closed whatever the call throws, so each catches its own call's errors.
 */

/** What came of a call, and of the device's work in it. */
export interface Scoped<T> {
  /** What the call returned; throws what it threw. */
  value(): T;
  /** The first error of the device. A lost device tells of none here: `lost` does. */
  error: Promise<GPUError | null>;
}

/** Calls under an error scope. `call` returns before it waits for anything. */
export function scoped<T>(device: GPUDevice, filter: GPUErrorFilter, call: () => T): Scoped<T> {
  device.pushErrorScope(filter);
  const value = attempt(call);
  return { value, error: device.popErrorScope().catch(() => null) };
}

function attempt<T>(call: () => T): () => T {
  try {
    const value = call();
    return () => value;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}
