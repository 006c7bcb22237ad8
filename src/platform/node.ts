/** The platform of Node: directories and the cache on disk, and Dawn from the optional peer package `webgpu`. */

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { totalmem } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder, NodeStore } from "../cache/node_store.ts";
import type { Sha256 } from "../cache/sha256.ts";
import { GpuUnavailableError, SourceError } from "../errors.ts";
import { fileFolder } from "../sources/file_folder.ts";
import { httpFolder } from "../sources/http_folder.ts";
import type { Platform } from "./platform.ts";

export const locate: Platform["locate"] = (location) => {
  // A drive letter (C:\) is not a scheme.
  const isUrl = location instanceof URL || /^(file:|[a-z][a-z\d+.-]+:\/\/)/i.test(location);
  if (!isUrl) return fileFolder(location);
  try {
    const url = new URL(location);
    if (url.protocol === "http:" || url.protocol === "https:") return url;
    return fileFolder(fileURLToPath(url));
  } catch (cause) {
    if (cause instanceof SourceError) throw cause;
    throw new SourceError(String(location), "name a directory, or a file:, http: or https: URL", { cause });
  }
};

export const openFolder: Platform["openFolder"] = (location) => {
  const found = locate(location);
  return found instanceof URL ? httpFolder(found) : found;
};

export const hubEndpoint: Platform["hubEndpoint"] = () => process.env.HF_ENDPOINT || undefined;

export const openStore: Platform["openStore"] = async (folder) => new NodeStore(folder ?? cacheFolder());

export const sha256: Platform["sha256"] = () => {
  const hash = createHash("sha256");
  const sum: Sha256 = {
    update(bytes) {
      hash.update(bytes);
      return sum;
    },
    hex: () => hash.digest("hex"),
  };
  return sum;
};

let gpu: Promise<GPU> | undefined;

/** Dawn's entry point, made once a process: each one holds a Vulkan instance of its own. */
export const defaultGpu: Platform["defaultGpu"] = () => {
  gpu ??= loadGpu(() => import("webgpu"));
  return gpu;
};

/**
 * Dawn's entry point from the package that `importWebgpu` loads. Its classes and constants become globals, as in a browser.
 * @throws GpuUnavailableError when the package is not installed or its library does not load
 */
export async function loadGpu(importWebgpu: () => Promise<typeof import("webgpu")>): Promise<GPU> {
  try {
    const { create, globals } = await importWebgpu();
    Object.assign(globalThis, globals);
    return create([]);
  } catch (cause) {
    throw new GpuUnavailableError(
      isNotInstalled(cause)
        ? "WebGPU in Node comes from the package 'webgpu', which is not installed: run `npm install webgpu`"
        : `the package 'webgpu' could not be loaded (${cause instanceof Error ? cause.message.trim().split("\n")[0] : cause})`,
      { cause },
    );
  }
}

/** Whether an import failed because the package itself is absent, rather than something that it needs. */
function isNotInstalled(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ERR_MODULE_NOT_FOUND" && /package 'webgpu'/.test((error as Error).message);
}

/** What Dawn uses on this operating system when it is not told otherwise. */
export const gpuBackend: Platform["gpuBackend"] = () =>
  process.platform === "darwin" ? "metal" : process.platform === "win32" ? "d3d12" : "vulkan";

export const noAdapterAdvice =
  process.platform === "linux"
    ? "install a Vulkan driver for the GPU, or Mesa's software one (Debian: mesa-vulkan-drivers)"
    : "check that the GPU driver is installed";

const MODEL = join("models", "stories260k-layerskip");

/** Walks up to the package's folder: two levels from here in source, two from `dist/node`, perhaps more in a bundle. */
export const defaultModel: Platform["defaultModel"] = () => {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let folder = start; ; folder = dirname(folder)) {
    const model = join(folder, MODEL);
    if (existsSync(join(model, "config.json"))) return model;
    if (folder === dirname(folder)) {
      throw new SourceError(MODEL, `the model of the package is in no folder above ${start}: name a model's folder`);
    }
  }
};

export const machineBytes: Platform["machineBytes"] = () => totalmem();

/** Not what is resident: a software adapter's buffers, the GPU's memory, are part of that. */
export const hostBytes: Platform["hostBytes"] = () => {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};
