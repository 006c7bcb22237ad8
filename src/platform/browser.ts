/** The platform of browsers, pages and workers alike. */

import { GpuUnavailableError, SourceError } from "../errors.ts";
import { httpFolder } from "../weights/http_folder.ts";
import type { Platform } from "./platform.ts";

export const openFolder: Platform["openFolder"] = (location) => {
  const base = globalThis.document?.baseURI ?? globalThis.location?.href;
  let url: URL;
  try {
    url = new URL(location, base);
  } catch (cause) {
    throw new SourceError(String(location), "is not a URL: name the URL of a folder that holds a model", { cause });
  }
  return httpFolder(url);
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
