/** What differs between Node and browsers. `#platform` (package.json) is `node.ts` or `browser.ts`, each of which exports these. */

import type { Sha256 } from "../cache/sha256.ts";
import type { Store } from "../cache/store.ts";
import type { Folder } from "../weights/source.ts";

export interface Platform {
  /**
   * Where a model is: a folder of this machine, or the URL of what is on a server.
   * @throws SourceError when there is no such directory, or `location` is nothing that can be opened
   */
  locate(location: string | URL): Folder | URL;
  /**
   * The model in a directory (Node: a path or `file:` URL) or below a URL (`http:`, `https:`, and in browsers whatever
   * `fetch` takes, relative to the page), without a cache.
   * @throws SourceError when there is no such directory, or `location` is nothing that can be opened
   */
  openFolder(location: string | URL): Folder;
  /** The hub that is used where no `endpoint` is given: in Node `HF_ENDPOINT`. */
  hubEndpoint(): string | undefined;
  /**
   * Where downloads are kept; undefined where there is no such place.
   * @param folder in Node instead of the one of the environment
   */
  openStore(folder?: string): Promise<Store | undefined>;
  sha256(): Sha256;
  /** Bytes of memory that the machine has, as far as it tells. */
  machineBytes(): number;
  /** Bytes that JavaScript holds now, buffers included (browsers: its heap); undefined where that is not told. */
  hostBytes(): number | undefined;
  /**
   * The WebGPU entry point.
   * @throws GpuUnavailableError when there is none; says what to do
   */
  defaultGpu(): Promise<GPU>;
  /** The graphics API behind `defaultGpu`: `vulkan`, `metal` or `d3d12`; `webgpu` in a browser, which does not tell. */
  gpuBackend(): string;
  /** What to do where WebGPU is there but finds no adapter. */
  readonly noAdapterAdvice: string;
  /**
   * Where the model that comes with the package lies, for `openFolder`.
   * @throws SourceError when it is not where the package has it
   */
  defaultModel(): string;
}
