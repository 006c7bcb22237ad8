/** Loading: from a source to a model that can generate. */

import { abortable } from "../abortable.ts";
import { InputError } from "../errors.ts";
import { Forward } from "../forward/forward.ts";
import { KvCache } from "../forward/kv_cache.ts";
import type { Device } from "../gpu/device.ts";
import { openSource } from "../sources/open.ts";
import { unchanging } from "../sources/unchanging.ts";
import type { DraftModelOptions, LoadOptions, ModelSource } from "../types.ts";
import { openCheckpoint } from "../weights/checkpoint.ts";
import { DTYPES } from "../weights/dtype.ts";
import { completedSpec } from "./completed_spec.ts";
import { contextLengthOf, kvBudgetOf } from "./context_length.ts";
import { DraftModel, type DraftTarget } from "./draft_model.ts";
import { adapterBeside } from "./exit_adapter.ts";
import { readKernelOptions } from "./kernel_options.ts";
import { LoadMeter } from "./load_progress.ts";
import { Model } from "./model.ts";
import { openDevice } from "./open_device.ts";
import { openEngine, reopenEngine } from "./open_engine.ts";
import { requireBoolean, requireChoice, requireKnown } from "./options.ts";
import { place } from "./place.ts";
import { sourceOptions } from "./source_options.ts";
import { readText } from "./text.ts";

const LOAD_OPTIONS: readonly (keyof LoadOptions)[] = [
  "cache",
  "contextLength",
  "dtype",
  "endpoint",
  "exitAdapter",
  "gpu",
  "kernels",
  "kvBudget",
  "onDownload",
  "onProgress",
  "recover",
  "signal",
  "token",
];

const DRAFT_MODEL_OPTIONS: readonly (keyof DraftModelOptions)[] = [
  "cache",
  "dtype",
  "endpoint",
  "onDownload",
  "signal",
  "token",
];

/**
 * Loads a model onto the GPU: downloads, reads, quantises and compiles what it needs.
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
 * @throws DeviceLostError when the device is lost meanwhile, also with `recover`: load again
 * @throws InputError for a context length, a dtype or a kernel that there is not; the signal's reason when it aborts
 *
 * A load that fails leaves nothing behind but whole chunks of files in the cache.
 */
export async function load(source?: ModelSource, options: LoadOptions = {}): Promise<Model> {
  const { signal } = options;
  requireKnown("load", options, LOAD_OPTIONS);
  const asked = requireChoice("load", "dtype", options.dtype ?? "auto", [...DTYPES, "auto" as const]);
  const forced = readKernelOptions(options.kernels);
  const recover = requireBoolean("load", "recover", options.recover ?? false);
  signal?.throwIfAborted();
  const meter = new LoadMeter(options.onProgress);
  let download = meter.download;
  const opened = await openSource(source, {
    ...sourceOptions(options),
    onDownload: bothOf((progress) => download(progress), options.onDownload),
  });
  const folder = recover ? unchanging(opened) : opened;
  meter.report("read", 0, 0);
  const checkpoint = await openCheckpoint(folder, signal);
  let device: Device | undefined;
  let model: Model | undefined;
  // What fails ends the check of the files too.
  const failed = new AbortController();
  const verifying = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  try {
    const { name, parameters, weightBytes } = checkpoint;
    const { tokenizer, chatTemplate, eosTokenIds } = await readText(checkpoint.text);
    const spec = completedSpec(checkpoint, eosTokenIds);
    const contextLength = contextLengthOf("load", options.contextLength, spec);
    const kvBudget = kvBudgetOf("load", options.kvBudget, contextLength);
    device = await openDevice(options.gpu, signal);
    meter.report("compile", 0, 0);
    const shape = { spec, contextLength, kvBudget, forced };
    const engine = await openEngine({ ...shape, device, checkpoint, asked, signal }, meter);
    model = new Model({
      ...{ name, spec, engine, recovers: recover, tokenizer, chatTemplate, contextLength },
      ...{ parameters, weightBytes, meter, loadDraftModel },
    });
    signal?.throwIfAborted();
    const { exitAdapter = await adapterBeside(folder, signal) } = options;
    if (options.exitAdapter) await model.loadExitAdapter(options.exitAdapter, sourceOptions(options));
    else if (exitAdapter) await model.tryExitAdapter(exitAdapter, sourceOptions(options));
    meter.report("compile", weightBytes, weightBytes);
    // Nothing that was made of bytes that are not those published is handed out.
    const ready = readied(model, options);
    await Promise.all([abortable(ready, signal), folder.verified?.(verifying)]);
    meter.finish();
    if (recover) {
      model.recoverBy(async (lost, ending, furnish) => {
        const again = new LoadMeter(options.onProgress);
        download = again.download;
        return await reopenEngine({ folder, shape, lost, furnish, gpu: options.gpu, signal: ending }, again);
      });
    }
    return model;
  } catch (error) {
    failed.abort(error);
    await model?.dispose();
    device?.dispose();
    throw error;
  } finally {
    await checkpoint.close();
  }
}

/**
 * Loads a second model onto a model's device, to draft for it.
 * @throws InputError when its tokenizer is another; the same errors as `load`
 * @internal Use `model.loadDraftModel`.
 */
export async function loadDraftModel(
  target: DraftTarget,
  source: ModelSource,
  options: DraftModelOptions = {},
): Promise<DraftModel> {
  const where = "loadDraftModel";
  const { signal } = options;
  requireKnown(where, options, DRAFT_MODEL_OPTIONS);
  const asked = requireChoice(where, "dtype", options.dtype ?? "auto", [...DTYPES, "auto" as const]);
  signal?.throwIfAborted();
  const folder = await openSource(source, sourceOptions(options));
  const checkpoint = await openCheckpoint(folder, signal);
  const { device, table, contextLength, kvBudget } = target;
  const releaseAll = device.ledger.mark();
  try {
    const { tokenizer, eosTokenIds } = await readText(checkpoint.text);
    if (!tokenizer.matches(target.tokenizer)) {
      const [found, expected] = ["another vocabulary", "the tokenizer of the model that it drafts for"];
      throw new InputError({ file: checkpoint.name, field: "tokenizer", found, expected });
    }
    const spec = completedSpec(checkpoint, eosTokenIds);
    if (spec.vocabSize > target.vocabSize) {
      const [found, expected] = [
        String(spec.vocabSize),
        `at most ${target.vocabSize}, as the model that it drafts for`,
      ];
      throw new InputError({ file: checkpoint.name, field: "vocab_size", found, expected });
    }
    const placing = { device, checkpoint, spec, contextLength, kvBudget, asked, forced: {}, signal };
    const { name, parameters } = checkpoint;
    const model = await place(
      placing,
      () => {},
      async ({ kernels, weights, dtype, warnings }) => {
        const bytes = KvCache.bytes(spec, kvBudget, kernels.kv);
        const forward = await device.allocating(`${name} (keys and values of ${kvBudget} tokens)`, bytes, () => {
          const kv = new KvCache(device, spec, contextLength, kernels.kv, kvBudget);
          return new Forward(device, spec, weights, kv, table, contextLength, kernels);
        });
        return new DraftModel({ name, spec, dtype, parameters, forward, warnings });
      },
    );
    await folder.verified?.(signal);
    return model;
  } catch (error) {
    releaseAll();
    throw error;
  } finally {
    await checkpoint.close();
  }
}

/** Compiles what the first generation needs, and learns what its rounds cost. */
async function readied(model: Model, options: LoadOptions): Promise<void> {
  await model.prepare();
  await model.priceRounds(options, options.signal);
}

function bothOf<T>(first: (value: T) => void, second: ((value: T) => void) | undefined): (value: T) => void {
  return (value) => {
    first(value);
    second?.(value);
  };
}
