/** `layerleap inspect`: what a model is and takes, before a download; loaded too, what it holds; and what the device offers. */

import { noAdapterAdvice } from "#platform";
import { check, type DeviceInfo, type Model, type ModelCheck, type ModelDtype } from "../index.ts";
import { interruptible } from "./interruption.ts";
import { type LoadFlags, loadJson, loadModel } from "./load.ts";
import { modelSource, sourceOptions } from "./options.ts";
import { EXIT, write } from "./output.ts";
import { bytes } from "./size.ts";

export interface InspectFlags extends LoadFlags {
  load?: boolean;
  json?: boolean;
}

/** Features that kernels can make use of. */
const FEATURES = ["subgroups"] as const;

/** In the order they are shown. */
const DTYPES: readonly ModelDtype[] = ["stored", "f32", "f16", "q8", "q4"];

type Row = readonly [label: string, value: string];

/** Looks at the model, loads it where that is asked for, and prints. @returns the exit code: a failure where it does not run */
export async function inspect(flags: InspectFlags): Promise<number> {
  const { contextLength, kernels } = flags;
  return interruptible(async (signal) => {
    const found = await check(modelSource(flags.model), { ...sourceOptions(flags), contextLength, kernels, signal });
    // Before a load, which may take its time.
    if (!flags.json) await write(checkText(found));
    await using model = found.supported && flags.load ? await loadModel(flags, signal) : undefined;
    if (flags.json) {
      const device = found.device ? deviceJson(found.device) : null;
      const result = { check: checkJson(found), ...(model && modelJson(model)), device };
      await write(`${JSON.stringify(result, undefined, 2)}\n`);
    } else if (model) {
      await write(`\n${table("Loaded", modelRows(model))}`);
    }
    return found.supported ? EXIT.success : EXIT.failure;
  });
}

function checkText(found: ModelCheck): string {
  const { memory, device } = found;
  const available = memory?.availableBytes;
  const seems = available === undefined ? "" : ` (there seem to be ${bytes(available)})`;
  return [
    table("Model", checkRows(found)),
    ...(memory ? [table(`GPU memory for weights and context${seems}`, memoryRows(found, memory))] : []),
    table(
      "Device",
      device ? deviceRows(device) : [["adapter", `none found, nothing can be loaded here: ${noAdapterAdvice}`]],
    ),
  ].join("\n");
}

function checkRows(found: ModelCheck): Row[] {
  const { name, supported, reason, family, parameters, layerSkip, download, contextLength } = found;
  const rows: [label: string, value: string | undefined][] = [
    ["name", name],
    ["supported", supported ? "yes" : `no: ${reason}`],
    ["family", family],
    ["parameters", parameters === undefined ? undefined : count(parameters)],
    ["LayerSkip", layerSkip === undefined ? undefined : layerSkip ? "trained for it" : "not trained for it"],
    ["download", download && `${bytes(download.totalBytes)}, ${bytes(download.cachedBytes)} of it in the cache`],
    ["context", contextLength === undefined ? undefined : `${count(contextLength)} tokens`],
  ];
  return rows.flatMap(([label, value]) => (value ? [[label, value] as const] : []));
}

/** What weights and context take in each data type. */
function memoryRows({ recommendedDtype }: ModelCheck, memory: NonNullable<ModelCheck["memory"]>): Row[] {
  const { neededBytes, availableBytes } = memory;
  return DTYPES.filter((dtype) => dtype !== "stored" || neededBytes.stored !== undefined).map((dtype): Row => {
    const needed = neededBytes[dtype];
    if (needed === undefined) return [dtype, "has a matrix that the device cannot bind whole"];
    const tooMuch = availableBytes !== undefined && needed > availableBytes;
    const notes = [dtype === recommendedDtype && "recommended", tooMuch && "more than there seems to be"];
    return [dtype, [bytes(needed), ...notes].filter(Boolean).join(", ")];
  });
}

/** What the check has not told. */
function modelRows(model: Model): Row[] {
  const { spec, defaults, loadStats } = model;
  const { hostPeakBytes } = loadStats;
  const memory = model.memory();
  const { weights = 0, kv = 0, ...others } = memory.byOwner;
  const rest = Object.values(others).reduce((sum, size) => sum + size, 0);
  return [
    ["layers", count(spec.layers)],
    ["heads", `${spec.heads} query, ${spec.kvHeads} key/value, ${spec.headDim} wide`],
    ["hidden size", count(spec.hiddenSize)],
    ["intermediate size", count(spec.intermediateSize)],
    ["vocabulary", `${count(spec.vocabSize)}${spec.tieWordEmbeddings ? ", the head is the embedding" : ""}`],
    ["context", `${count(model.contextLength)} tokens (the model's limit: ${count(spec.maxPositionEmbeddings)})`],
    ["weights", `${bytes(model.weightBytes)} in the checkpoint, held ${held(model)}`],
    ...(spec.layerSkip
      ? ([
          [
            "LayerSkip",
            `exit layer ${spec.layerSkip.exitLayer}, draft length ${spec.layerSkip.draftLength} recommended`,
          ],
        ] as const)
      : []),
    [
      "kernels",
      Object.entries(model.kernels)
        .map((entry) => entry.join("="))
        .join(", "),
    ],
    ...model.warnings.map((warning): Row => ["warning", warning]),
    ["drafter", defaults.drafter === "none" ? "none by default" : `${defaults.drafter} by default`],
    ["GPU memory", `${bytes(memory.bytes)} in ${memory.buffers} buffers`],
    ["  weights", bytes(weights)],
    ["  KV cache", bytes(kv)],
    ["  activations", bytes(rest)],
    ["load", `${loadStats.seconds.toFixed(2)} s`],
    ...Object.entries(loadStats.phaseSeconds).map(([phase, seconds]): Row => [`  ${phase}`, `${seconds.toFixed(2)} s`]),
    ["  fetched", `${bytes(loadStats.fetchedBytes)}, ${bytes(loadStats.cachedBytes)} from the cache`],
    ...(hostPeakBytes === undefined ? [] : [["host memory", `${bytes(hostPeakBytes)} at most`] as const]),
  ];
}

function held({ dtype }: Model): string {
  return dtype === "stored" ? "as stored" : `in ${dtype}`;
}

function deviceRows(device: DeviceInfo): Row[] {
  const { limits } = device;
  return [
    ["vendor", device.vendor || "unknown"],
    ["architecture", device.architecture || "unknown"],
    ["description", device.description || "none"],
    ["backend", device.backend],
    ["kind", device.software ? "software adapter: right results, but its speed means little" : "hardware"],
    ...FEATURES.map((feature): Row => [feature, device.features.includes(feature) ? "yes" : "no"]),
    ["largest buffer", bytes(limits.maxBufferSize)],
    ["largest binding", bytes(limits.maxStorageBufferBindingSize)],
    ["workgroup memory", bytes(limits.maxComputeWorkgroupStorageSize)],
    ["workgroup threads", count(limits.maxComputeInvocationsPerWorkgroup)],
  ];
}

function table(title: string, rows: readonly Row[]): string {
  const width = Math.max(...rows.map(([label]) => label.length)) + 2;
  return [title, ...rows.map(([label, value]) => `  ${label.padEnd(width)}${value}`), ""].join("\n");
}

function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** The JSON of what is known before a load. */
function checkJson(found: ModelCheck): object {
  const { download, memory } = found;
  return {
    name: found.name,
    supported: found.supported,
    reason: found.reason,
    family: found.family,
    parameters: found.parameters,
    layerskip: found.layerSkip,
    context_length: found.contextLength,
    download: download && { total_bytes: download.totalBytes, cached_bytes: download.cachedBytes },
    memory: memory && { needed_bytes: memory.neededBytes, available_bytes: memory.availableBytes },
    recommended_dtype: found.recommendedDtype,
  };
}

/** The JSON of a loaded model. */
function modelJson(model: Model): object {
  const { spec, defaults } = model;
  const memory = model.memory();
  return {
    model: {
      name: model.name,
      family: spec.family,
      parameters: model.parameters,
      weight_bytes: model.weightBytes,
      dtype: model.dtype,
      kernels: model.kernels,
      warnings: model.warnings,
      layers: spec.layers,
      heads: spec.heads,
      kv_heads: spec.kvHeads,
      head_dim: spec.headDim,
      hidden_size: spec.hiddenSize,
      intermediate_size: spec.intermediateSize,
      vocab_size: spec.vocabSize,
      max_position_embeddings: spec.maxPositionEmbeddings,
      context_length: model.contextLength,
      tie_word_embeddings: spec.tieWordEmbeddings,
      eos_token_ids: spec.eosTokenIds,
      layerskip: spec.layerSkip
        ? { exit_layer: spec.layerSkip.exitLayer, draft_length: spec.layerSkip.draftLength }
        : null,
      defaults: { drafter: defaults.drafter, exit_layer: defaults.exitLayer, draft_length: defaults.draftLength },
    },
    memory: { buffers: memory.buffers, bytes: memory.bytes, by_owner: memory.byOwner },
    load: loadJson(model.loadStats),
  };
}

function deviceJson(device: DeviceInfo): object {
  const { limits } = device;
  return {
    vendor: device.vendor,
    architecture: device.architecture,
    description: device.description,
    backend: device.backend,
    software: device.software,
    features: device.features,
    limits: {
      max_buffer_size: limits.maxBufferSize,
      max_storage_buffer_binding_size: limits.maxStorageBufferBindingSize,
      max_compute_workgroup_storage_size: limits.maxComputeWorkgroupStorageSize,
      max_compute_invocations_per_workgroup: limits.maxComputeInvocationsPerWorkgroup,
    },
  };
}
