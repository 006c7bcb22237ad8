/** The tensor types of GGUF that can be loaded, by the numbers that files give them (`enum ggml_type`). */

import { UnsupportedModelError } from "../errors.ts";
import type { SourceType } from "../kernels/source_type.ts";

/** The numbers of the types that can be loaded. */
export const GGML_IDS: Record<SourceType, number> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q2_K: 10,
  Q3_K: 11,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  IQ4_NL: 20,
  IQ4_XS: 23,
  BF16: 30,
};

/** Names of types that are not loaded, so that a message can say which one it was. */
const OTHER_TYPES: Readonly<Record<number, string>> = {
  4: "Q4_2",
  5: "Q4_3",
  9: "Q8_1",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  21: "IQ3_S",
  22: "IQ2_S",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  31: "Q4_0_4_4",
  32: "Q4_0_4_8",
  33: "Q4_0_8_8",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
  40: "NVFP4",
};

const TYPES = new Map(Object.entries(GGML_IDS).map(([type, id]) => [id, type as SourceType]));

/**
 * The type that a file means by `id`.
 * @param file, field names for messages
 * @throws UnsupportedModelError that lists the types there are
 */
export function ggufType(id: number, file: string, field: string): SourceType {
  const type = TYPES.get(id);
  if (type) return type;
  const found = OTHER_TYPES[id] ?? `type ${id}`;
  throw new UnsupportedModelError({ file, field, found, expected: `one of ${[...TYPES.values()].join(", ")}` });
}
