/** `layerleap inspect`: what the model is, what it holds on the GPU, and what the device offers. */

import { type Dtype, type KernelOptions, load, type Model } from "../index.ts";
import { modelSource } from "./options.ts";
import { EXIT, write } from "./output.ts";
import { bytes } from "./size.ts";

export interface InspectFlags {
  model?: string;
  dtype: Dtype | "auto";
  kernels?: KernelOptions;
  json?: boolean;
}

/** Features that kernels can make use of. */
const FEATURES = ["subgroups"] as const;

type Row = readonly [label: string, value: string];

/** Loads the model and prints. @returns the exit code */
export async function inspect(flags: InspectFlags): Promise<number> {
  const model = await load(modelSource(flags.model), { dtype: flags.dtype, kernels: flags.kernels });
  try {
    if (flags.json) await write(`${JSON.stringify(toJson(model), undefined, 2)}\n`);
    else await write(`${table("Model", modelRows(model))}\n${table("Device", deviceRows(model))}`);
    return EXIT.success;
  } finally {
    await model.dispose();
  }
}

function modelRows(model: Model): Row[] {
  const { spec, defaults } = model;
  const memory = model.memory();
  const { weights = 0, kv = 0, ...others } = memory.byOwner;
  const rest = Object.values(others).reduce((sum, size) => sum + size, 0);
  return [
    ["name", model.name],
    ["family", spec.family],
    ["parameters", count(model.parameters)],
    ["layers", count(spec.layers)],
    ["heads", `${spec.heads} query, ${spec.kvHeads} key/value, ${spec.headDim} wide`],
    ["hidden size", count(spec.hiddenSize)],
    ["intermediate size", count(spec.intermediateSize)],
    ["vocabulary", `${count(spec.vocabSize)}${spec.tieWordEmbeddings ? ", the head is the embedding" : ""}`],
    ["context", `${count(model.contextLength)} tokens (the model's limit: ${count(spec.maxPositionEmbeddings)})`],
    ["weights", `${bytes(model.weightBytes)} in the checkpoint, held in ${model.dtype}`],
    [
      "LayerSkip",
      spec.layerSkip
        ? `exit layer ${spec.layerSkip.exitLayer}, draft length ${spec.layerSkip.draftLength} recommended`
        : "the checkpoint was not trained for it",
    ],
    [
      "kernels",
      Object.entries(model.kernels)
        .map((entry) => entry.join("="))
        .join(", "),
    ],
    ...model.warnings.map((warning): [string, string] => ["warning", warning]),
    ["drafter", defaults.drafter === "none" ? "none by default" : `${defaults.drafter} by default`],
    ["GPU memory", `${bytes(memory.bytes)} in ${memory.buffers} buffers`],
    ["  weights", bytes(weights)],
    ["  KV cache", bytes(kv)],
    ["  activations", bytes(rest)],
  ];
}

function deviceRows({ device }: Model): Row[] {
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

/** The JSON object of `--json`. */
function toJson(model: Model): object {
  const { spec, device, defaults } = model;
  const { limits } = device;
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
    device: {
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
    },
  };
}
