/** Loading: from a source to a model that can generate. */

import { defaultGpu, gpuBackend, noAdapterAdvice } from "#platform";
import { abortable } from "../abortable.ts";
import { GpuMemoryError, InputError } from "../errors.ts";
import { requireContext, requireKvBudget } from "../forward/context_limit.ts";
import { Forward } from "../forward/forward.ts";
import { KvCache } from "../forward/kv_cache.ts";
import { productKinds } from "../forward/product_kinds.ts";
import { Device } from "../gpu/device.ts";
import type { ScoreRule } from "../kernels/attention_shape.ts";
import type { KernelChoice } from "../kernels/choice.ts";
import { chooseKernels, type KernelNeeds } from "../kernels/choose.ts";
import { takesInt8 } from "../kernels/many_row_matmul.ts";
import { formatName } from "../kernels/weight_format.ts";
import type { ModelSpec } from "../model/spec.ts";
import { openSource } from "../sources/open.ts";
import type { DraftModelOptions, Dtype, LoadOptions, ModelDtype, ModelSource } from "../types.ts";
import { type Checkpoint, openCheckpoint } from "../weights/checkpoint.ts";
import { conversionsOf } from "../weights/conversions.ts";
import { DTYPES, type Holding } from "../weights/dtype.ts";
import type { ModelWeights } from "../weights/held_weights.ts";
import { chooseHolding, smallerHolding } from "../weights/holding.ts";
import { headFormats, type WeightPlan } from "../weights/plan.ts";
import { uploadWeights } from "../weights/upload.ts";
import { completedSpec } from "./completed_spec.ts";
import { contextLengthOf, kvBudgetOf } from "./context_length.ts";
import { DraftModel, type DraftTarget } from "./draft_model.ts";
import { adapterBeside } from "./exit_adapter.ts";
import { readKernelOptions } from "./kernel_options.ts";
import { LoadMeter } from "./load_progress.ts";
import { memoryFor } from "./memory_estimate.ts";
import { Model } from "./model.ts";
import { requireChoice, requireKnown } from "./options.ts";
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
 * @throws InputError for a context length, a dtype or a kernel that there is not; the signal's reason when it aborts
 *
 * A load that fails leaves nothing behind but whole chunks of files in the cache.
 */
export async function load(source?: ModelSource, options: LoadOptions = {}): Promise<Model> {
  const { signal } = options;
  requireKnown("load", options, LOAD_OPTIONS);
  const asked = requireChoice("load", "dtype", options.dtype ?? "auto", [...DTYPES, "auto" as const]);
  const forced = readKernelOptions(options.kernels);
  signal?.throwIfAborted();
  const meter = new LoadMeter(options.onProgress);
  const folder = await openSource(source, {
    ...sourceOptions(options),
    onDownload: bothOf(meter.download, options.onDownload),
  });
  meter.report("read", 0, 0);
  const checkpoint = await openCheckpoint(folder, signal);
  let device: Device | undefined;
  // What fails ends the check of the files too.
  const failed = new AbortController();
  const verifying = signal ? AbortSignal.any([signal, failed.signal]) : failed.signal;
  try {
    const { name, parameters, weightBytes } = checkpoint;
    const { tokenizer, chatTemplate, eosTokenIds } = readText(checkpoint.text);
    const spec = completedSpec(checkpoint, eosTokenIds);
    const contextLength = contextLengthOf("load", options.contextLength, spec);
    const kvBudget = kvBudgetOf("load", options.kvBudget, contextLength);
    device = await openDevice(options.gpu, signal);
    const opened = device;
    meter.report("compile", 0, 0);
    const placing = { device: opened, checkpoint, spec, contextLength, kvBudget, asked, forced, signal };
    const onProgress = (loadedBytes: number) => meter.report("upload", loadedBytes, weightBytes);
    const model = await place(placing, onProgress, ({ kernels, warnings, weights, dtype, holding }) =>
      opened.allocating(
        `${name} (keys and values of ${kvBudget} tokens)`,
        KvCache.bytes(spec, kvBudget, kernels.kv),
        () =>
          new Model({
            ...{ name, device: opened, spec, weights, tokenizer, chatTemplate, contextLength, kvBudget, dtype },
            ...{ kernels, warnings, parameters, weightBytes, meter, loadDraftModel },
            placing: { layers: checkpoint.tensors.layers, holding },
          }),
      ),
    );
    signal?.throwIfAborted();
    const { exitAdapter = await adapterBeside(folder, signal) } = options;
    if (options.exitAdapter) await model.loadExitAdapter(options.exitAdapter, sourceOptions(options));
    else if (exitAdapter) await model.tryExitAdapter(exitAdapter, sourceOptions(options));
    meter.report("compile", weightBytes, weightBytes);
    // Nothing that was made of bytes that are not those published is handed out.
    const ready = model.prepare().then(() => model.priceRounds(options, signal));
    await Promise.all([abortable(ready, signal), folder.verified?.(verifying)]);
    meter.finish();
    return model;
  } catch (error) {
    failed.abort(error);
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
    const { tokenizer, eosTokenIds } = readText(checkpoint.text);
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

/** What is needed to put a checkpoint on a device. */
interface Placing {
  device: Device;
  checkpoint: Checkpoint;
  spec: ModelSpec;
  contextLength: number;
  kvBudget: number;
  asked: Dtype | "auto";
  forced: ReturnType<typeof readKernelOptions>;
  signal: AbortSignal | undefined;
}

/** A checkpoint on a device. */
interface Placed {
  kernels: KernelChoice;
  weights: ModelWeights;
  dtype: ModelDtype;
  holding: Holding;
  warnings: readonly string[];
}

/**
 * Chooses kernels and the form of the weights, uploads these, and makes of them what they are for. Where the device has not the memory
 * and the data type is ours to choose, all is done again with the next smaller one, and the model says so (`warnings`).
 * @param make allocates what a model needs beside its weights
 * @throws GpuMemoryError when the smallest does not fit either
 */
async function place<T>(
  { device, checkpoint, spec, contextLength, kvBudget, asked, forced, signal }: Placing,
  onProgress: (loadedBytes: number) => void,
  make: (placed: Placed) => Promise<T>,
): Promise<T> {
  const { bindableBytes } = device.ledger;
  const refusals: string[] = [];
  let chosen = chooseHolding(checkpoint, asked, memoryFor(device.info), bindableBytes);
  for (;;) {
    const { plan, name: dtype, holding } = chosen;
    const releaseAll = device.ledger.mark();
    try {
      const needs = kernelNeeds(checkpoint, plan);
      if (forced.manyRows === "int8") requireInt8(needs);
      const { kernels, warnings } = await abortable(chooseKernels(device, needs, forced), signal);
      requireContext(bindableBytes, spec, contextLength, kernels.kv);
      requireKvBudget(bindableBytes, spec, kvBudget, kernels.kv);
      const weights = await uploadWeights(device, checkpoint, plan, { dtype, signal, onProgress });
      return await make({ kernels, weights, dtype, holding, warnings: [...refusals, ...warnings] });
    } catch (error) {
      const isFull = error instanceof GpuMemoryError && asked === "auto";
      const smaller = isFull ? smallerHolding(checkpoint, chosen, bindableBytes) : undefined;
      if (!smaller) throw error;
      releaseAll();
      refusals.push(`${(error as GpuMemoryError).message}; floats are held in ${smaller.holding.dtype} instead`);
      chosen = smaller;
    }
  }
}

/** A device that an abort does not wait for; one that comes too late is disposed of. */
async function openDevice(gpu: LoadOptions["gpu"], signal: AbortSignal | undefined): Promise<Device> {
  const opening = gpu
    ? Device.open(gpu as GPU)
    : defaultGpu().then((found) => Device.open(found, gpuBackend(), noAdapterAdvice));
  try {
    return await abortable(opening, signal);
  } catch (error) {
    opening.then(
      (late) => late.dispose(),
      () => {},
    );
    throw error;
  }
}

function bothOf<T>(first: (value: T) => void, second: ((value: T) => void) | undefined): (value: T) => void {
  return (value) => {
    first(value);
    second?.(value);
  };
}

/** What the kernels of a model are tried for. */
function kernelNeeds(checkpoint: Checkpoint, plan: WeightPlan): KernelNeeds {
  const { spec } = checkpoint;
  return {
    layers: productKinds(spec, plan.layers, "f32"),
    head: headFormats(plan),
    headShape: spec,
    scoreRules: scoreRules(spec),
    ...{ headNorm: spec.headNorm, norms: spec.norms },
    gate: plan.layers.some(({ ungated }) => ungated.length > 0) ? spec.activation : undefined,
    conversions: conversionsOf(plan, checkpoint),
  };
}

/** What layers do to scores, each rule once. */
function scoreRules({ attention, attentionScale: scale, attentionSoftCap: softCap }: ModelSpec): ScoreRule[] {
  return [...new Set(attention.map(({ window }) => window))].map((window) => ({ scale, softCap, window }));
}

function requireInt8({ layers }: KernelNeeds): void {
  const floats = layers.find(({ format }) => !takesInt8(format));
  if (!floats) return;
  const found = `"int8" with ${formatName(floats.format)}`;
  const expected = "a dtype of symmetric block codes, q8 or q4";
  throw new InputError({ file: "load", field: "kernels.manyRows", found, expected });
}
