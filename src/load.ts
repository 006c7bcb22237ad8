/** `load`, here or in a worker. */

import { script } from "./scripts.ts";
import type { Model } from "./session/model.ts";
import type { LoadOptions, ModelSource } from "./types.ts";
import type { WorkerChoice } from "./worker/load_in_worker.ts";
import type { WorkerModel } from "./worker/worker_model.ts";

/** Options of a load in a worker. */
export interface WorkerLoadOptions extends Omit<LoadOptions, "gpu"> {
  /**
   * The model is held and computed by a worker, and the page stays free. `true`: a worker of the page's own. `"shared"`: one for all tabs of the
   * site, which share models that they load with the same options. Both run the library's own script, which bundlers find; where they do not,
   * name its URL (the package's `layerleap/worker`), or give a worker that runs it.
   */
  worker: WorkerChoice;
}

/**
 * Loads a model onto the GPU: downloads, reads, quantises and compiles what it needs.
 *
 * With `worker`, a worker does, and the model's methods answer with promises; errors and aborts cross. Then also InputError where there are no
 * workers, and WorkerLostError where the worker's script does not run.
 *
 * @param source a name on the Hugging Face hub (`hf:owner/name`), a URL, a path (Node), files, or a `Folder` of your own: a
 *   folder in Hugging Face's layout (config.json, model.safetensors, tokenizer.json) or one GGUF file. Default: the model
 *   that comes with the package, where its files lie beside the script as they do in Node; an app that is bundled serves them
 *   itself and names their URL.
 * @throws SourceError when a file is missing or cannot be read; IntegrityError when it is not what was published;
 * CacheFullError when there is no room to keep it
 * @throws FileFormatError when a file is damaged
 * @throws UnsupportedModelError when the architecture or a data type is not supported
 * @throws GpuUnavailableError without WebGPU; GpuMemoryError | GpuError when the model does not fit
 * @throws GpuError when no variant of a kernel, or a forced one, or one without variants, computes right on this device
 * @throws InputError for a context length, a dtype or a kernel that there is not; the signal's reason when it aborts
 *
 * A load that fails leaves nothing behind but whole chunks of files in the cache.
 */
export function load(source: ModelSource | undefined, options: WorkerLoadOptions): Promise<WorkerModel>;
export function load(source?: ModelSource, options?: LoadOptions): Promise<Model>;
export async function load(
  source?: ModelSource,
  options: LoadOptions | WorkerLoadOptions = {},
): Promise<Model | WorkerModel> {
  const { worker, ...others } = "worker" in options ? options : { ...options, worker: undefined };
  // Either comes when it is called for: a page whose worker computes has no use for what computes here.
  if (worker) return (await script(import("./worker/load_in_worker.ts"))).loadInWorker(source, worker, others);
  return (await script(import("./session/load.ts"))).load(source, others);
}
