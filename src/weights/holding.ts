/** What a model's matrices are held in: as asked, or as this device has memory for. */

import { GpuError } from "../errors.ts";
import { isFloat } from "../kernels/source_type.ts";
import type { Dtype, ModelDtype } from "../types.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { DTYPES, type Holding } from "./dtype.ts";
import { matricesOf, plannedBytes, planWeights, type WeightPlan } from "./plan.ts";

export interface ChosenHolding {
  holding: Holding;
  plan: WeightPlan;
  /** What it is called: a data type, or `stored` where the file's own block codes are kept. */
  name: ModelDtype;
}

/**
 * The part of the memory that weights may take in each data type. What is exact costs twice as much in each step up, also in
 * time: it is for models so small that nobody notices.
 */
const SHARES: Readonly<Record<Dtype, number>> = { f32: 1 / 16, f16: 1 / 8, q8: 1 / 4, q4: 1 };

/**
 * @param asked a data type, or `auto`: block codes as the file has them, and floats in the largest type that takes no more
 *   than its share of `memoryBytes`; or what has been chosen before
 * @param memoryBytes what the device may have for a model
 * @throws GpuError for a matrix that the device does not bind whole
 */
export function chooseHolding(
  checkpoint: Pick<Checkpoint, "tensors" | "tensor">,
  asked: Dtype | "auto" | Holding,
  memoryBytes: number,
  bindableBytes: number,
): ChosenHolding {
  const planned = (holding: Holding) => held(checkpoint, holding, bindableBytes);
  if (typeof asked === "object") return planned(asked);
  if (asked !== "auto") return planned({ dtype: asked, keepsBlocks: false });
  const smaller = DTYPES.slice(0, -1).find((dtype) => {
    const holding: Holding = { dtype, keepsBlocks: true };
    return (
      attempted(() => plannedBytes(planWeights(checkpoint, holding, bindableBytes))) <= SHARES[dtype] * memoryBytes
    );
  });
  return planned({ dtype: smaller ?? "q4", keepsBlocks: true });
}

/**
 * What `auto` takes where the memory for its first choice was not there after all: the largest type below it in which the
 * weights take fewer bytes.
 * @returns undefined where there is none
 */
export function smallerHolding(
  checkpoint: Pick<Checkpoint, "tensors" | "tensor">,
  { holding, plan }: ChosenHolding,
  bindableBytes: number,
): ChosenHolding | undefined {
  const bytes = plannedBytes(plan);
  const dtype = DTYPES.slice(DTYPES.indexOf(holding.dtype) + 1).find(
    (each) =>
      attempted(() => plannedBytes(planWeights(checkpoint, { ...holding, dtype: each }, bindableBytes))) < bytes,
  );
  return dtype && held(checkpoint, { ...holding, dtype }, bindableBytes);
}

function held(
  checkpoint: Pick<Checkpoint, "tensors" | "tensor">,
  holding: Holding,
  bindableBytes: number,
): ChosenHolding {
  const plan = planWeights(checkpoint, holding, bindableBytes);
  const kept =
    holding.keepsBlocks && matricesOf(plan).some((matrix) => hasBlocks(checkpoint, matrix.landings[0]!.tensor));
  return { holding, plan, name: kept ? "stored" : holding.dtype };
}

function hasBlocks({ tensor }: Pick<Checkpoint, "tensor">, spec: Parameters<Checkpoint["tensor"]>[0]): boolean {
  return !isFloat(tensor(spec).dtype);
}

/** What a type needs that the device cannot bind is more than there is. */
function attempted(bytes: () => number): number {
  try {
    return bytes();
  } catch (error) {
    if (!(error instanceof GpuError)) throw error;
    return Infinity;
  }
}
