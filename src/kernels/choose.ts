/**
 * Chooses the kernels of a model: the best variants for the device that compute right there.
 *
 * Drivers miscompile, and a runtime that does not look ships gibberish. So each kernel that makes numbers is tried on small
 * ones before a weight of the model goes through it. A matmul or an attention that fails is dropped with a warning, and the
 * next is tried; the others have no next, and fail the load.
 */

import { GpuError } from "../errors.ts";
import type { Device } from "../gpu/device.ts";
import type { ModelSpec } from "../model/spec.ts";
import { attentionFault } from "./attention_check.ts";
import type { HeadShape, ScoreRule } from "./attention_shape.ts";
import { bestChoice, type KernelChoice } from "./choice.ts";
import { checkEmbedding } from "./embedding_check.ts";
import { FewRowMatmul } from "./few_row_matmul.ts";
import { type FewRowVariant, fewRowGroupOf, fewRowName, THREAD_VARIANT } from "./few_row_variant.ts";
import { checkGate } from "./gate_check.ts";
import type { KvType } from "./kv_format.ts";
import { type ManyRowForm, ManyRowMatmul, type ManyRowVariant, runsVariant } from "./many_row_matmul.ts";
import { kindName, type MatmulKind } from "./matmul_form.ts";
import { checkAddNormed, checkRmsNorm } from "./norm_check.ts";
import { checkPlaceHeads } from "./place_heads_check.ts";
import { type Conversion, checkRepack } from "./repack_check.ts";
import { checkSelection } from "./selection_check.ts";
import { checkData, computesRight } from "./self_check.ts";
import { formatName, type WeightFormat } from "./weight_format.ts";

/** What kernels are needed for: the formats of a model's matrices, where they come from, and the shape of its heads. */
export interface KernelNeeds {
  /** Products of a layer, of rows of both regimes. */
  layers: readonly MatmulKind<ManyRowForm>[];
  /** Formats of embedding and head. */
  head: readonly WeightFormat[];
  headShape: HeadShape;
  /** What layers do to scores; default: nothing but the usual scale. */
  scoreRules?: readonly ScoreRule[];
  /** How queries and keys are normed, if they are. */
  headNorm?: ModelSpec["headNorm"];
  /** Where blocks are normed; default: before. */
  norms?: ModelSpec["norms"];
  /** What becomes of gates that are stored, if any are. */
  gate?: ModelSpec["activation"] | undefined;
  /** What the GPU makes of a checkpoint's numbers; none where the weights come from elsewhere. */
  conversions: readonly Conversion[];
}

/** What was chosen, and what had to be dropped on the way. */
export interface ChosenKernels {
  kernels: KernelChoice;
  warnings: string[];
}

/** Decides whether a few-row kernel computes right; tests put another in its place. */
export type FewRowCheck = (device: Device, kind: MatmulKind, variant: FewRowVariant) => Promise<string | undefined>;

/**
 * @param forced variants that are used whatever the device; one that does not compute right is an error then
 * @throws GpuError when no variant of a kernel computes right here, or a forced one does not, or one without variants
 */
export async function chooseKernels(
  device: Device,
  needs: KernelNeeds,
  forced: Partial<KernelChoice> = {},
  check: FewRowCheck = fewRowFault,
): Promise<ChosenKernels> {
  const best = { ...bestChoice(device), ...forced };
  const { kv } = best;
  const { heads, kvHeads, headDim } = needs.headShape;
  const shape = { heads, kvHeads, headDim };
  const { scoreRules = [{}] } = needs;
  /** A variant that is asked for, or else the best one and what takes its place. */
  const candidates = <K extends keyof KernelChoice>(kernel: K, ...others: KernelChoice[K][]) =>
    forced[kernel] ? [forced[kernel]] : [...new Set([best[kernel], ...others])];
  // Together, so that what they compile is compiled on all cores; and to the end, so that none is under way after a throw.
  const trials = await Promise.allSettled([
    firstThatWorks(
      "few-row matmul",
      forced.fewRows ? [forced.fewRows] : variantsFrom(best.fewRows),
      fewRowName,
      (variant) => faultOfAny(fewRowKinds(needs, kv), (kind) => check(device, kind, variant)),
    ),
    firstThatWorks("many-row matmul", candidates("manyRows", "tiles", "thread"), String, (variant) =>
      faultOfAny(manyRowKinds(needs, kv), (kind) => manyRowFault(device, kind, variant)),
    ),
    firstThatWorks("attention of generated rows", candidates("attention", "workgroup", "threads"), String, (variant) =>
      faultOfAny(scoreRules, (rule) =>
        faultOf(device, "", () => attentionFault(device, shape, kv, { regime: "generated", variant }, rule)),
      ),
    ),
    firstThatWorks("attention of prompts", candidates("promptAttention", "tiles", "threads"), String, (variant) =>
      faultOfAny(scoreRules, (rule) =>
        faultOf(device, "", () => attentionFault(device, shape, kv, { regime: "prompt", variant }, rule)),
      ),
    ),
    ...checksOfOthers(device, needs, kv),
  ]);
  const [fewRows, manyRows, attention, promptAttention, ...others] = trials;
  for (const other of others) resultOf(other);
  return {
    kernels: {
      fewRows: resultOf(fewRows).variant,
      manyRows: resultOf(manyRows).variant,
      attention: resultOf(attention).variant,
      promptAttention: resultOf(promptAttention).variant,
      kv,
    },
    warnings: [fewRows, manyRows, attention, promptAttention].flatMap(
      (trial) => resultOf<{ warnings: string[] }>(trial).warnings,
    ),
  };
}

function resultOf<T>(trial: PromiseSettledResult<T>): T {
  if (trial.status === "rejected") throw trial.reason;
  return trial.value;
}

/** The kernels that there is one of each of. Where one computes wrong, nothing takes its place. */
function checksOfOthers(device: Device, needs: KernelNeeds, kv: KvType): Promise<void>[] {
  const { head, headShape, headNorm, norms = "before", gate, conversions } = needs;
  return [
    ...conversions.map((conversion) => checkRepack(device, conversion)),
    ...head.map((format) => checkEmbedding(device, format)),
    checkRmsNorm(device),
    ...(headNorm ? [checkPlaceHeads(device, headShape, kv, headNorm)] : []),
    ...(norms === "before" ? [] : [checkAddNormed(device)]),
    ...(gate ? [checkGate(device, gate)] : []),
    checkSelection(device),
  ];
}

/** The best variant and what is left when it is dropped, down to the one that asks nothing of the hardware. */
function variantsFrom(best: FewRowVariant): FewRowVariant[] {
  const all: FewRowVariant[] = [best, { kind: "workgroup", slices: 8 }, THREAD_VARIANT];
  return all.filter((variant, i) => all.findIndex(({ kind }) => kind === variant.kind) === i);
}

/** The first candidate without a fault. Those before it are dropped with a warning. */
async function firstThatWorks<T>(
  what: string,
  candidates: readonly T[],
  nameOf: (candidate: T) => string,
  faultOf: (candidate: T) => Promise<string | undefined>,
): Promise<{ variant: T; warnings: string[] }> {
  const warnings: string[] = [];
  for (const variant of candidates) {
    const fault = await faultOf(variant);
    if (!fault) return { variant, warnings };
    warnings.push(`the ${what} '${nameOf(variant)}' is not used on this device: ${fault}`);
  }
  throw new GpuError(what, warnings.at(-1) ?? "there is no variant");
}

async function faultOfAny<T>(
  tried: readonly T[],
  faultOf: (each: T) => Promise<string | undefined>,
): Promise<string | undefined> {
  const faults = await Promise.all(tried.map(faultOf));
  return faults.find(Boolean);
}

/** What is wrong with a few-row kernel on this device, or undefined. */
export async function fewRowFault(
  device: Device,
  kind: MatmulKind,
  variant: FewRowVariant,
): Promise<string | undefined> {
  const matmul = new FewRowMatmul(device, kind, variant);
  const data = checkData(kind);
  return faultOf(device, nameOf(kind), async () => {
    await matmul.kernel(1).prepare();
    const { ok, where } = await computesRight(device, {
      data,
      shape: matmul.shape(data.size),
      record: (recorder, buffers, rows) => matmul.record(recorder, matmul.bind(buffers, data.size.outputs), rows),
      groupOf: (output) => fewRowGroupOf(kind.form, output, data.size.outputs, variant),
    });
    return ok ? undefined : where;
  });
}

async function manyRowFault(
  device: Device,
  kind: MatmulKind<ManyRowForm>,
  variant: ManyRowVariant,
): Promise<string | undefined> {
  if (!runsVariant(device, variant, kind.format)) return `it does not take ${formatName(kind.format)} here`;
  const matmul = new ManyRowMatmul(device, kind, variant);
  return faultOf(device, nameOf(kind), async () => {
    await matmul.prepare();
    return undefined;
  });
}

/** A kernel that cannot be compiled, or throws otherwise, is at fault too; a lost device is not its fault. */
async function faultOf(
  device: Device,
  what: string,
  attempt: () => Promise<string | undefined>,
): Promise<string | undefined> {
  const told = (fault: string) => `${what}${fault}`;
  try {
    const fault = await attempt();
    return fault && told(fault);
  } catch (error) {
    device.check();
    if (!(error instanceof GpuError)) throw error;
    return told(error.message);
  }
}

function nameOf(kind: MatmulKind): string {
  return `${kindName(kind)}: `;
}

/** The products of a layer, of a model whose cache is of this type. */
function manyRowKinds({ layers }: KernelNeeds, kv: KvType): MatmulKind<ManyRowForm>[] {
  return layers.map((kind) => (kind.form === "qkv" ? { ...kind, kv } : kind));
}

function fewRowKinds(needs: KernelNeeds, kv: KvType): MatmulKind[] {
  const head = (["headArgmax", "store"] as const).flatMap((form) =>
    needs.head.map((format): MatmulKind => ({ form, format })),
  );
  return [...manyRowKinds(needs, kv), ...head];
}
