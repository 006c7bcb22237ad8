/** Which element types of a checkpoint become which formats: what the GPU's repacking is tried with before a load. */

import type { Conversion } from "../kernels/repack_check.ts";
import { isFloat } from "../kernels/source_type.ts";
import { formatName } from "../kernels/weight_format.ts";
import type { Checkpoint } from "./checkpoint.ts";
import { matricesOf, type WeightPlan } from "./plan.ts";

/** Every conversion that `uploadWeights` makes, each once. */
export function conversionsOf(plan: WeightPlan, { tensor }: Pick<Checkpoint, "tensor">): Conversion[] {
  const all = matricesOf(plan).flatMap(({ format, landings }) =>
    landings.flatMap((landing) => {
      const type = tensor(landing.tensor).dtype;
      return isFloat(type) ? [{ type, format }] : []; // block codes have no trial: their kernels are tested
    }),
  );
  return [...new Map(all.map((each) => [`${each.type} ${formatName(each.format)}`, each])).values()];
}
