/** Which element types of a checkpoint become which formats: what the GPU's repacking is tried with before a load. */

import type { Conversion } from "../kernels/repack_check.ts";
import { formatName } from "../kernels/weight_format.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { matricesOf, type WeightPlan } from "./plan.ts";

/** Every conversion that `uploadWeights` makes, each once. */
export function conversionsOf(plan: WeightPlan, { tensor }: Pick<Checkpoint, "tensor">): Conversion[] {
  const all = matricesOf(plan).flatMap(({ format, landings }) =>
    landings.map((landing) => ({ type: tensor(landing.tensor).dtype, format })),
  );
  return [...new Map(all.map((each) => [`${each.type} ${formatName(each.format)}`, each])).values()];
}
