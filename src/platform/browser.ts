/** The platform of browsers, pages and workers alike. */

import { sha256 as nobleSha256 } from "@noble/hashes/sha2.js";
import { opfsStore } from "../cache/opfs_store.ts";
import type { Sha256 } from "../cache/sha256.ts";
import { GpuUnavailableError, SourceError } from "../errors.ts";
import { httpFolder } from "../sources/http_folder.ts";
import type { Platform } from "./platform.ts";

export const locate: Platform["locate"] = (location) => {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  try {
    return new URL(location, base);
  } catch (cause) {
    throw new SourceError(String(location), "is not a URL: name the URL of a folder that holds a model", { cause });
  }
};

export const openFolder: Platform["openFolder"] = (location) => httpFolder(locate(location) as URL);

export const hubEndpoint: Platform["hubEndpoint"] = () => undefined;

export const openStore: Platform["openStore"] = () => opfsStore();

export const sha256: Platform["sha256"] = () => {
  const hash = nobleSha256.create();
  const sum: Sha256 = {
    update(bytes) {
      hash.update(bytes);
      return sum;
    },
    hex: () => Array.from(hash.digest(), (byte) => byte.toString(16).padStart(2, "0")).join(""),
  };
  return sum;
};

export const defaultGpu: Platform["defaultGpu"] = async () => {
  const gpu: GPU | undefined = globalThis.navigator?.gpu;
  if (gpu) return gpu;
  throw new GpuUnavailableError(
    globalThis.isSecureContext === false
      ? "WebGPU needs a secure page: open it over https or from localhost"
      : "this browser has no WebGPU: use Chrome or Edge 113+, Safari 26+ or Firefox 141+, where WebGPU is not switched off",
  );
};

export const gpuBackend: Platform["gpuBackend"] = () => "webgpu";

export const noAdapterAdvice = "check that the browser's hardware acceleration is on and the GPU driver is installed";

// The library lies two folders below the package in source and in dist alike. Bundlers would take the URL for a file to
// include; Vite is told not to.
export const defaultModel: Platform["defaultModel"] = () =>
  new URL(/* @vite-ignore */ "../../models/stories260k-layerskip/", import.meta.url).href;

/** Browsers tell gigabytes, 8 at most, to whom they trust; phones and old laptops have 4. */
const ASSUMED_GIGABYTES = 4;

export const machineBytes: Platform["machineBytes"] = () => {
  const navigator = globalThis.navigator as { deviceMemory?: number } | undefined;
  return (navigator?.deviceMemory ?? ASSUMED_GIGABYTES) * 2 ** 30;
};

export const hostBytes: Platform["hostBytes"] = () => {
  const performance = globalThis.performance as { memory?: { usedJSHeapSize: number } };
  return performance.memory?.usedJSHeapSize;
};
