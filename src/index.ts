/**
 * The public surface of LayerLeap. Apps, the command line and the demo page use nothing else.
 */

export type { ControllerName } from "./decode/controllers/registry.ts";
export type { DraftContext, DraftNode, DraftOutcome, DraftTree, HostDrafter } from "./decode/drafters/host_drafter.ts";
export type { DrafterKind, PlanDecision, PlanPrice, RoundPlan } from "./decode/plan.ts";
export * from "./errors.ts";
export type { DeviceInfo } from "./gpu/device_info.ts";
export { check, LayerLeap, listCached, pull, removeCached } from "./layerleap.ts";
export { load, type WorkerLoadOptions } from "./load.ts";
export type {
  Activation,
  LayerAttention,
  LayerSkipSpec,
  ModelSpec,
  NormPlacement,
  RopeScaling,
  RopeSpec,
} from "./model/spec.ts";
export type { Chat } from "./session/chat.ts";
export type { DraftModel } from "./session/draft_model.ts";
export type { GenerationDefaults } from "./session/drafting_options.ts";
export type { Generation } from "./session/generation.ts";
export type { Model } from "./session/model.ts";
export type { DirectoryHandle } from "./sources/directory_handle.ts";
export type * from "./types.ts";
export type { ExitAdapterInfo, ExitAdapterKind } from "./weights/exit_adapter.ts";
export type { Folder, Source } from "./weights/source.ts";
export type { WorkerChoice } from "./worker/load_in_worker.ts";
export type { WorkerChat } from "./worker/worker_chat.ts";
export type { WorkerGeneration } from "./worker/worker_generation.ts";
export type { WorkerChatSettings, WorkerDraftModel, WorkerModel } from "./worker/worker_model.ts";
export type { WorkerGenerateOptions } from "./worker/worker_options.ts";
