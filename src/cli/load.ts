/** Loading a model for a command: from where its options say, with a bar on a terminal. */

import { type DraftModel, type Dtype, type KernelOptions, type LoadStats, load, type Model } from "../index.ts";
import { adapterSource, modelSource, type SourceFlags, sourceOptions } from "./options.ts";
import { ProgressBar } from "./progress_bar.ts";

export interface LoadFlags extends SourceFlags {
  model?: string;
  dtype: Dtype | "auto";
  kernels?: KernelOptions;
  contextLength?: number;
  kvBudget?: number;
  /** Where an exit adapter is; false: not even the one beside the model. */
  exitAdapter?: string | false;
}

export async function loadModel(flags: LoadFlags, signal?: AbortSignal): Promise<Model> {
  const { dtype, kernels, contextLength, kvBudget, exitAdapter } = flags;
  using bar = new ProgressBar();
  // What is read from the cache counts as a download too, but is none to who waits for it.
  let fetched = false;
  return await load(modelSource(flags.model), {
    ...sourceOptions(flags),
    ...{ dtype, kernels, contextLength, kvBudget, signal },
    ...(exitAdapter !== undefined && { exitAdapter: exitAdapter && adapterSource(exitAdapter) }),
    onDownload: (file) => {
      fetched ||= file.fetched > 0;
    },
    onProgress: (progress) => {
      if (fetched || progress.phase !== "download") bar.show(progress);
    },
  });
}

/** Loads a second model that drafts for `model`. */
export async function loadDraftModel(
  model: Model,
  source: string,
  flags: LoadFlags,
  signal?: AbortSignal,
): Promise<DraftModel> {
  const { dtype } = flags;
  return await model.loadDraftModel(modelSource(source) ?? source, {
    ...sourceOptions(flags),
    dtype,
    ...(signal && { signal }),
  });
}

/** What a load has cost, for `--json`. */
export function loadJson({ seconds, phaseSeconds, fetchedBytes, cachedBytes, hostPeakBytes }: LoadStats): object {
  return {
    seconds,
    phase_seconds: phaseSeconds,
    fetched_bytes: fetchedBytes,
    cached_bytes: cachedBytes,
    host_peak_bytes: hostPeakBytes,
  };
}
