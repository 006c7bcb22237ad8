/** A tensor of a file as a model needs it, or the reason why there is none. */

import { FileFormatError, UnsupportedModelError } from "../errors.ts";
import { quote } from "../json.ts";
import { isFloat, SOURCE_LAYOUTS, type SourceType } from "../kernels/source_type.ts";
import type { TensorSpec } from "../model/spec.ts";
import type { StoredTensor } from "./safetensors.ts";
import type { WeightTensor } from "./source.ts";

/** Element types that weights can be loaded from, and those of them that are floats. */
export const TYPES = Object.keys(SOURCE_LAYOUTS) as SourceType[];
export const FLOATS = TYPES.filter(isFloat);

/** A file's tensors, and what a message about them needs. */
export interface Holder {
  /** The file that lists them. */
  file: string;
  /** A tensor by Hugging Face's name. */
  find(name: string): StoredTensor | WeightTensor | undefined;
  /** Where the shapes come from. */
  settings: string;
  /** Element types that can be loaded. */
  types: readonly string[];
  /** What the file calls a tensor. */
  nameOf(name: string): string;
}

/** A tensor of the kind the model needs, or the reason why there is none. */
export function findTensor({ file, find, settings, types, nameOf }: Holder, { name, shape }: TensorSpec): WeightTensor {
  const found = find(name);
  if (!found) {
    const expected = `a tensor of shape ${quote(shape)}`;
    throw new FileFormatError({ file, field: nameOf(name), found: "no such tensor", expected });
  }
  const holder = found.source.name;
  if (found.shape.length !== shape.length || !found.shape.every((size, axis) => size === shape[axis])) {
    const expected = `${quote(shape)}, as ${settings} implies`;
    throw new FileFormatError({ file: holder, field: `${found.name}.shape`, found: quote(found.shape), expected });
  }
  const vector = shape.length === 1;
  if (!isWeight(found) || (vector && !isFloat(found.dtype))) {
    const expected = (vector ? FLOATS : types).join(", ");
    throw new UnsupportedModelError({ file: holder, field: `${found.name}.dtype`, found: found.dtype, expected });
  }
  return found;
}

/** Whether weights can be loaded from this tensor's element type. */
function isWeight(tensor: StoredTensor | WeightTensor): tensor is WeightTensor {
  return Object.hasOwn(SOURCE_LAYOUTS, tensor.dtype);
}
