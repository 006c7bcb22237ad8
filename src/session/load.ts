/** Loading: from a source to a model that can generate. */

import { defaultGpu, defaultModel, gpuBackend, noAdapterAdvice } from "#platform";
import { InputError, UnsupportedModelError } from "../errors.ts";
import { requireContext } from "../forward/context_limit.ts";
import { KvCache } from "../forward/kv_cache.ts";
import { productKinds } from "../forward/product_kinds.ts";
import { Device } from "../gpu/device.ts";
import { chooseKernels } from "../kernels/choose.ts";
import { EOS_CAPACITY } from "../kernels/constants.ts";
import { takesInt8 } from "../kernels/many_row_matmul.ts";
import { openSource } from "../sources/open.ts";
import { TextTokenizer } from "../text/tokenizer.ts";
import type { LoadOptions, ModelSource } from "../types.ts";
import { openCheckpoint } from "../weights/checkpoint.ts";
import { conversionsOf } from "../weights/conversions.ts";
import { DEFAULT_DTYPE, DTYPES, formatsOf } from "../weights/dtype.ts";
import { headFormats, planWeights } from "../weights/plan.ts";
import { uploadWeights } from "../weights/upload.ts";
import { abortable } from "./abortable.ts";
import { readKernelOptions } from "./kernel_options.ts";
import { Model } from "./model.ts";
import { requireChoice, requireInteger, requireKnown } from "./options.ts";

const LOAD_OPTIONS: readonly (keyof LoadOptions)[] = [
  "contextLength",
  "dtype",
  "gpu",
  "kernels",
  "onProgress",
  "signal",
];

/** The context a model gets when nothing is asked: longer ones cost memory that most chats never touch. */
const DEFAULT_CONTEXT_LENGTH = 4096;

/**
 * Loads a model onto the GPU.
 *
 * @param source a folder in Hugging Face's layout (config.json, model.safetensors, tokenizer.json): a path in Node, a URL
 *   in a browser, or a `Folder` of your own. Default: the model that comes with the package.
 * @throws SourceError when a file is missing or cannot be read
 * @throws FileFormatError when a file is damaged
 * @throws UnsupportedModelError when the architecture or a data type is not supported
 * @throws GpuUnavailableError without WebGPU; GpuMemoryError | GpuError when the model does not fit
 * @throws GpuError when no variant of a kernel, or a forced one, or one without variants, computes right on this device
 * @throws InputError for a context length, a dtype or a kernel that there is not; the signal's reason when it aborts
 *
 * A load that fails leaves nothing behind.
 */
export async function load(source: ModelSource = defaultModel(), options: LoadOptions = {}): Promise<Model> {
  const { signal, onProgress = () => {} } = options;
  requireKnown("load", options, LOAD_OPTIONS);
  const dtype = requireChoice("load", "dtype", options.dtype ?? DEFAULT_DTYPE, DTYPES);
  const forced = readKernelOptions(options.kernels);
  signal?.throwIfAborted();
  const folder = await openSource(source, { cache: false, signal });
  const checkpoint = await openCheckpoint(folder, signal);
  let device: Device | undefined;
  try {
    const { spec, name, parameters, weightBytes } = checkpoint;
    const contextLength = requireInteger(
      "load",
      "contextLength",
      options.contextLength ?? Math.min(spec.maxPositionEmbeddings, DEFAULT_CONTEXT_LENGTH),
      2,
      spec.maxPositionEmbeddings,
    );
    if (spec.eosTokenIds.length > EOS_CAPACITY) {
      throw new UnsupportedModelError({
        file: name,
        field: "eos_token_id",
        found: `${spec.eosTokenIds.length} ids`,
        expected: `at most ${EOS_CAPACITY}`,
      });
    }
    const tokenizer = new TextTokenizer(checkpoint.tokenizerJson, checkpoint.tokenizerConfig, checkpoint.tokenizerFile);
    device = options.gpu
      ? await Device.open(options.gpu as GPU)
      : await Device.open(await defaultGpu(), gpuBackend(), noAdapterAdvice);
    signal?.throwIfAborted();
    const opened = device;
    if (forced.manyRows === "int8" && !takesInt8(formatsOf(dtype).layers)) {
      const expected = "a dtype of block codes, q8 or q4";
      throw new InputError({ file: "load", field: "kernels.manyRows", found: `"int8" with ${dtype}`, expected });
    }
    const plan = planWeights(checkpoint, dtype, opened.ledger.bindableBytes);
    const needs = {
      layers: productKinds(spec, plan.layers, "f32"),
      head: headFormats(plan),
      headShape: spec,
      conversions: conversionsOf(plan, checkpoint),
    };
    const { kernels, warnings } = await abortable(chooseKernels(opened, needs, forced), signal);
    requireContext(opened, spec, contextLength, kernels.kv);
    const weights = await uploadWeights(opened, checkpoint, plan, { onProgress, signal });
    const model = await opened.allocating(
      `${name} (context of ${contextLength} tokens)`,
      KvCache.bytes(spec, contextLength, kernels.kv),
      () =>
        new Model({
          ...{ name, device: opened, spec, weights, tokenizer, contextLength, dtype },
          ...{ kernels, warnings, parameters, weightBytes },
        }),
    );
    signal?.throwIfAborted();
    onProgress({ phase: "compile", loadedBytes: weightBytes, totalBytes: weightBytes });
    await abortable(model.prepare(), signal);
    return model;
  } catch (error) {
    device?.dispose();
    throw error;
  } finally {
    await checkpoint.close();
  }
}
