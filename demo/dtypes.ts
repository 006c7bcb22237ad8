/** What weights can be held in, in the words of the page. */

import type { Dtype, ModelDtype } from "../src/index.ts";

export type DtypeChoice = Dtype | "auto";

export const DTYPE_CHOICES: readonly DtypeChoice[] = ["auto", "f32", "f16", "q8", "q4"];

export function dtypeName(dtype: ModelDtype): string {
  return dtype === "stored" ? "as stored" : dtype;
}
