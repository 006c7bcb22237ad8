/** Types of the public surface: where models are, how they are loaded, and what they take. */

import type { DeviceInfo } from "../gpu/device_info.ts";
import type { DirectoryHandle } from "../sources/directory_handle.ts";
import type { Folder } from "../weights/source.ts";

/**
 * What a load is at. Files that come over the network are downloaded while their weights are uploaded, so these two alternate.
 * - `download`: files are fetched, or found in the cache.
 * - `read`: settings, tokenizer and the headers of the weight files are read.
 * - `upload`: weights go to the GPU, which lays out, rounds or quantises them.
 * - `compile`: kernels are compiled and tried.
 */
export type LoadPhase = "download" | "read" | "upload" | "compile";

export interface LoadProgress {
  phase: LoadPhase;
  /** Bytes of this phase so far, of `totalBytes`; 0 of 0 where it has none. */
  loadedBytes: number;
  totalBytes: number;
  /** Of the last seconds; absent until it can be told. */
  bytesPerSecond?: number;
  secondsLeft?: number;
}

/** What a load has cost. */
export interface LoadStats {
  seconds: number;
  /** Of them, by phase. */
  phaseSeconds: Readonly<Record<LoadPhase, number>>;
  /** Bytes that came over the network, and from the cache. */
  fetchedBytes: number;
  cachedBytes: number;
  /** The most that JavaScript held meanwhile, buffers included (Chrome: the heap); absent where that is not told. */
  hostPeakBytes?: number;
}

/** What is known of a model before it is downloaded. */
export interface ModelCheck {
  name: string;
  /** Whether this version runs it. */
  supported: boolean;
  /** Why not. */
  reason?: string;
  /** Hugging Face `model_type`. */
  family?: string;
  parameters?: number;
  /** Whether its checkpoint was trained for LayerSkip. */
  layerSkip?: boolean;
  /** The adapter it would run on; absent where there is none. */
  device?: DeviceInfo;
  /** Of a model on a server: bytes of its weight files, how many of them were in the cache, and whether what comes is kept. */
  download?: { totalBytes: number; cachedBytes: number; kept: boolean };
  /** Tokens of the context that the memory is counted for. */
  contextLength?: number;
  /** GPU memory that weights and context take in each data type, and what there seems to be where there is a device. */
  memory?: { neededBytes: Partial<Record<ModelDtype, number>>; availableBytes?: number };
  /** What `dtype: "auto"` would choose on the device. */
  recommendedDtype?: ModelDtype;
}

export interface CheckOptions extends SourceOptions {
  /** Tokens of the context that memory is counted for. Default: as for `load`. */
  contextLength?: number;
  /** The WebGPU entry point, a `GPU`; default: `navigator.gpu`, in Node the `webgpu` package's. */
  gpu?: GpuProvider;
  /** As for `load`: what the cache of keys and values is held in changes what a context takes. */
  kernels?: KernelOptions;
  signal?: AbortSignal;
}

/** A `GPU` of the WebGPU API, told without its types: not every TypeScript project has them. */
export interface GpuProvider {
  requestAdapter(options?: object): Promise<object | null>;
}

/**
 * What a model's matrices are held in on the GPU. Everything is computed in f32.
 * - `f32`: as the checkpoint has them, exactly. 4 bytes an element.
 * - `f16`: rounded to nearest. 2 bytes; exact for checkpoints in f16.
 * - `q8`: 8-bit codes, a scale for each 32. 1.06 bytes.
 * - `q4`: 4-bit codes, a scale for each 32, in the layers; embedding and head as in `q8`, for their quality. 0.56 bytes.
 */
export type Dtype = "f32" | "f16" | "q8" | "q4";

/** What a loaded model is held in: one of these, or as stored: block codes exactly as a GGUF file has them. */
export type ModelDtype = Dtype | "stored";

/**
 * Variants of kernels, to force one where the device's own choice is not wanted: for tests, measurements, and devices that
 * compute something wrong. All but `int8` and `f16` give the same results within f32's rounding.
 */
export interface KernelOptions {
  /**
   * Few-row matmul: a thread an output, or so many threads share one, lanes of a subgroup or threads of a workgroup. A
   * subgroup must have at least as many lanes.
   */
  fewRows?: "thread" | `${"subgroup" | "workgroup"}:${4 | 8 | 16}`;
  /** Matmul of prompts. `int8` quantises the prompt's activations: faster where there are integer dot products, other ids. */
  manyRows?: "thread" | "tiles" | "int8";
  /** Attention of generated rows. */
  attention?: "threads" | "workgroup";
  /** Attention of prompts. */
  promptAttention?: "threads" | "tiles";
  /** Type of the KV cache. `f16` takes half the memory; ids may differ from those with `f32`. */
  kv?: "f32" | "f16";
}

/** Where a file's bytes have come from so far. A file whose size only its end tells grows. */
export interface DownloadProgress {
  /** Path inside the model. */
  file: string;
  /** Its size in bytes. */
  size: number;
  /** Bytes that came over the network. */
  fetched: number;
  /** Bytes that were in the cache. */
  cached: number;
}

/**
 * An access token of the hub, for gated and private repositories, or what gives one for a repository (`owner/name`). It is
 * sent to the endpoint alone, not where that redirects to, and stored nowhere; a model that recovers keeps it in memory, to read again.
 */
export type AccessToken = string | ((repo: string) => string | undefined | Promise<string | undefined>);

export interface CacheOptions {
  /** The folder (Node). Default: `LAYERLEAP_CACHE`, else the system's folder for caches. */
  folder?: string;
  /**
   * When there is no room for a file: fail with a `CacheFullError` (default), or go on without storing it. What is not stored
   * is checked for its size and version, not for its SHA-256.
   */
  whenFull?: "error" | "uncached";
}

/** A model in the cache. */
export interface CachedModel {
  /** What to load it by. Of a URL the query is left out. */
  source: string;
  files: number;
  /** Bytes it takes. */
  bytes: number;
  /** Whether all files that were begun are there whole. */
  complete: boolean;
}

/** How a model on a server is reached. */
export interface SourceOptions {
  /**
   * Hub that `hf:` names are looked up at: a mirror must answer `/api/models/NAME/revision/REVISION` and
   * `/NAME/resolve/REVISION/FILE` as it does. Default: https://huggingface.co, in Node `HF_ENDPOINT`.
   */
  endpoint?: string | URL;
  token?: AccessToken;
  /** Where downloads, and what rounds cost on this device, are kept; false: nowhere. Default: in the browser's storage, in Node in the folder for caches. */
  cache?: boolean | CacheOptions;
  /** Told what has been downloaded, or found in the cache. */
  onDownload?: (progress: DownloadProgress) => void;
}

export interface PullOptions extends SourceOptions {
  /** Told how far the download is, over all files: its phase is `download`. */
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
}

export interface LoadOptions extends SourceOptions {
  /**
   * Tokens the context holds, prompt included. Default: the smaller of the model's limit and 4,096. A model whose positions are
   * scaled by the text's length (LongRoPE, `dynamic`) scales them by this length, for all texts alike.
   */
  contextLength?: number;
  /**
   * Tokens that keys and values are kept of, of all texts together: what a conversation says again is not computed again while it is
   * there. At least `contextLength`, which is the default.
   */
  kvBudget?: number;
  /**
   * What the weights are held in on the GPU. Default: `auto`, which keeps the block codes of a GGUF file and holds floats in
   * the largest type that this device seems to have memory for, and a smaller one where it turns out not to have it
   * (`model.warnings`); `model.dtype` tells which.
   */
  dtype?: Dtype | "auto";
  /**
   * An exit adapter to draft with; `false`: none. Default: the file `exit-adapter.safetensors` in the model's folder, where there is
   * one and the place can tell (a plain web server cannot).
   */
  exitAdapter?: ExitAdapterSource | false;
  /** The WebGPU entry point, a `GPU`; default: `navigator.gpu`, in Node the `webgpu` package's. */
  gpu?: GpuProvider;
  /** Forces variants of kernels; default: the best that this device computes right with. */
  kernels?: KernelOptions;
  /**
   * Goes on when the device is lost (a driver that is reset, a GPU process that crashes): what runs waits until the model is loaded onto a
   * device again, from the same files and with the same kernels, and goes on with the same ids (but with `acceptRule: "ratio"`, and on another kind
   * of device, which `model.warnings` names). `onProgress` tells how far that is, up to `compile` with all bytes. Default: `false`, what runs and
   * what is asked for later ends with a DeviceLostError.
   *
   * What is not a generation ends with that error too, and can be asked for once more.
   */
  recover?: boolean;
  onProgress?: (progress: LoadProgress) => void;
  signal?: AbortSignal;
}

/** How a second model is loaded that drafts; as in `LoadOptions`. */
export interface DraftModelOptions extends SourceOptions {
  dtype?: Dtype | "auto";
  signal?: AbortSignal;
}

/**
 * Where a model is: `hf:owner/name[@revision][/file.gguf or folder]` on the Hugging Face hub; a URL, or in Node a path, of a
 * folder or of one .gguf file; files that were dropped or picked (`File`, `Blob`, `FileList`); a directory's handle; or a
 * `Folder` of your own.
 */
export type ModelSource = string | URL | Blob | ArrayLike<Blob> | DirectoryHandle | Folder;

/** Where an exit adapter is: as a model, or its file, or the bytes of it. */
export type ExitAdapterSource = ModelSource | Uint8Array;

/** How an exit adapter is reached. */
export interface ExitAdapterOptions extends SourceOptions {
  signal?: AbortSignal;
}

/** What the cache of keys and values holds, of all texts together. */
export interface KvCacheUse {
  /** Tokens that there is room for. */
  capacity: number;
  /** Tokens whose room is taken: texts take it in pages of 64, and share those that they begin with alike. */
  tokens: number;
  /** Texts that are kept. */
  texts: number;
}

/** Buffers a model holds on the GPU. */
export interface MemoryUse {
  buffers: number;
  bytes: number;
  /** Bytes by owner: `weights`, `kv`, `activations`, ... */
  byOwner: Record<string, number>;
}
