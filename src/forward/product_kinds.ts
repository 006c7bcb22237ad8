/** Which kernels a model's products need: what a family's norms, biases and activation make of each. */

import type { KvType } from "../kernels/kv_format.ts";
import type { ManyRowForm } from "../kernels/many_row_matmul.ts";
import { kindName, type MatmulKind } from "../kernels/matmul_form.ts";
import type { WeightFormat } from "../kernels/weight_format.ts";
import type { ModelSpec } from "../model/spec.ts";

/** What a kernel's code depends on of a matrix. */
export interface MatrixTraits {
  format: WeightFormat;
  bias: boolean;
}

/** The products of a layer. */
export const LAYER_PRODUCTS = ["qkv", "output", "gateUp", "ungated", "down"] as const;
export type LayerProduct = (typeof LAYER_PRODUCTS)[number];

/**
 * The kernel of a layer's product.
 *
 * Queries and keys that are normed, and blocks whose output is, wait for a sum over a row or a head: those products are
 * stored, and the kernel that sums goes on. So are gate and up where they are products of their own.
 */
export function productKind(
  { norms, headNorm, activation }: ModelSpec,
  product: LayerProduct,
  { format, bias }: MatrixTraits,
  kv: KvType,
): MatmulKind<ManyRowForm> {
  const matrix = { format, bias };
  const normed = norms !== "after";
  switch (product) {
    case "qkv":
      return headNorm ? { form: "store", normed, ...matrix } : { form: "qkv", normed, kv, ...matrix };
    case "gateUp":
      return { form: "gated", normed, activation, ...matrix };
    case "ungated":
      return { form: "store", normed, ...matrix };
    default:
      return { form: norms === "before" ? "add" : "store", ...matrix };
  }
}

/** The kernels of all products of layers, each once. */
export function productKinds(
  spec: ModelSpec,
  layers: readonly Readonly<Record<LayerProduct, readonly MatrixTraits[]>>[],
  kv: KvType,
): MatmulKind<ManyRowForm>[] {
  const all = layers.flatMap((layer) =>
    LAYER_PRODUCTS.flatMap((product) => layer[product].map((matrix) => productKind(spec, product, matrix, kv))),
  );
  return [...new Map(all.map((kind) => [kindName(kind), kind])).values()];
}
