/** A device that miscompiles, on purpose: what a kernel's checks are for. */

import { expect, vi } from "vitest";
import type { Device } from "../../src/gpu/device.ts";
import type { Constants, KernelSource, PipelineCache } from "../../src/gpu/pipelines.ts";

/** Replaces a text that is in one place of a kernel's code, or throws. */
export type Change = readonly [from: string, to: string];

/** An object with some properties replaced; everything else is the original's, methods included. */
export function altered<T extends object>(original: T, others: Partial<T>): T {
  return new Proxy(original, {
    get(target, key) {
      if (Object.hasOwn(others, key)) return Reflect.get(others, key);
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/**
 * @param changes of a kernel's code: texts that the device takes for others; an empty list compiles it as it is
 */
export function miscompiling(
  device: Device,
  changes: (source: KernelSource, constants: Constants) => readonly Change[],
): Device {
  const get: PipelineCache["get"] = (source, constants = {}) => {
    const code = changes(source, constants).reduce(changed, source.code);
    return device.pipelines.get({ ...source, code }, constants);
  };
  return altered(device, { pipelines: altered(device.pipelines, { get }) });
}

function changed(code: readonly string[], [from, to]: Change): readonly string[] {
  const places = code.reduce((count, text) => count + text.split(from).length - 1, 0);
  if (places !== 1) throw new Error(`the code has ${places} places that say: ${from}`);
  return code.map((text) => text.replace(from, () => to));
}

/** The rest of a test sees kernels in which a text is replaced, until `vi.restoreAllMocks()`. */
export function miscompileAll({ pipelines }: Device, text: string, replacement: string): void {
  const get = pipelines.get.bind(pipelines);
  vi.spyOn(pipelines, "get").mockImplementation((source: KernelSource, constants?: Constants) => {
    expect(source.code.some((piece) => piece.includes(text))).toBe(true);
    return get({ ...source, code: source.code.map((piece) => piece.replaceAll(text, replacement)) }, constants);
  });
}
