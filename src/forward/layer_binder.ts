/**
 * One layer's kernels with their buffers, in the order they are dispatched: what a family's norms, biases and formats make of a
 * layer, over any residual stream.
 */

import type { Recorder } from "../gpu/commands.ts";
import { addNormedShape } from "../kernels/add_normed.ts";
import { attentionShape } from "../kernels/attention_shape.ts";
import type { FewQueryGroups } from "../kernels/few_query_attention.ts";
import { gateShape } from "../kernels/gate.ts";
import type { KvType } from "../kernels/kv_format.ts";
import type { ManyRowForm } from "../kernels/many_row_matmul.ts";
import {
  kindName,
  type MatmulBinding,
  type MatmulForm,
  type MatmulKind,
  type MatmulSize,
  streamStride,
  widthOf,
} from "../kernels/matmul_form.ts";
import { placeHeadsShape } from "../kernels/place_heads.ts";
import { ropeRotations } from "../kernels/rope.ts";
import { paddedSize } from "../kernels/weight_format.ts";
import type { LayerAttention, ModelSpec, RopeSpec } from "../model/spec.ts";
import type { LayerWeights, Matrix } from "../weights/held_weights.ts";
import type { Activations } from "./activations.ts";
import type { Constants } from "./constants.ts";
import type { LayerKernels, Product, ProductParts, Regime } from "./layer_kernels.ts";
import { type LayerProduct, productKind } from "./product_kinds.ts";
import type { PassRows, RowTable } from "./row_table.ts";

/** A product for rows of both regimes. */
export type Products = Record<Regime, Product>;

/** One layer's kernels with their buffers, in the order they are dispatched. */
export interface BoundLayer {
  /** From the stream to queries, keys and values. */
  project: Products[];
  attention: { generated: FewQueryGroups; prompt: GPUBindGroup };
  /** From what was attended to the stream, and through the feed-forward block. */
  rest: Products[];
}

/** The buffers of a form that are not those of every matmul. */
type FormBuffers<F extends MatmulForm> = Omit<
  Record<MatmulBinding<F>, GPUBuffer>,
  "range" | "shape" | "weight" | "scales"
>;

/** What layers of a model share. */
export interface LayerKit {
  spec: ModelSpec;
  kernels: LayerKernels;
  constants: Constants;
  activations: Activations;
  table: RowTable;
  contextLength: number;
  kvType: KvType;
  /** By `rotationTables`. */
  rotations: ReadonlyMap<RopeSpec | undefined, GPUBuffer>;
}

/** Where a layer stands. */
export interface LayerPlace {
  attention: LayerAttention;
  cache: { keys: GPUBuffer; values: GPUBuffer };
  stream: GPUBuffer;
  /**
   * The norm of what comes behind the layer. What a block ends with multiplies the stream by the weight of the norm that comes
   * next; where none does, the product is not read, and any weight will do.
   */
  nextNorm: GPUBuffer;
}

/** A table of rotations for each way in which layers rotate. */
export function rotationTables(
  { attention, headDim }: ModelSpec,
  contextLength: number,
  constants: Constants,
): Map<RopeSpec | undefined, GPUBuffer> {
  const ropes = new Set(attention.map(({ rope }) => rope));
  return new Map(
    [...ropes].map((rope, i) => [
      rope,
      constants.storage(`rotations ${i}`, ropeRotations(contextLength, headDim, rope)),
    ]),
  );
}

export class LayerBinder {
  readonly #kit: LayerKit;
  /** The products that were bound, each kind once. */
  readonly #kinds = new Map<string, MatmulKind<ManyRowForm>>();

  constructor(kit: LayerKit) {
    this.#kit = kit;
  }

  /** The kernels that what was bound needs, each kind of product once. */
  get kinds(): MatmulKind<ManyRowForm>[] {
    return [...this.#kinds.values()];
  }

  bind(layer: LayerWeights, place: LayerPlace): BoundLayer {
    const { attended, gated } = this.#kit.activations;
    const { stream, nextNorm } = place;
    return {
      project: this.#bindProjection(layer, place),
      attention: this.#bindAttention(place),
      rest: [
        ...this.#bindBlockEnd("output", layer.output, attended, {
          postNorm: layer.postAttentionNorm,
          nextNorm: layer.preFeedforwardNorm ?? nextNorm,
          stream,
        }),
        ...this.#bindGated(layer, stream),
        ...this.#bindBlockEnd("down", layer.down, gated, { postNorm: layer.postFeedforwardNorm, nextNorm, stream }),
      ],
    };
  }

  /** Records the layer's part up to queries, keys and values. */
  project(recorder: Recorder, { project }: BoundLayer, rows: PassRows): void {
    for (const step of project) step[rows.regime](recorder, rows);
  }

  /** Records the layer's rest. */
  finish(recorder: Recorder, { attention, rest }: BoundLayer, rows: PassRows): void {
    const kernels = this.#kit.kernels.attention;
    if (rows.regime === "generated") kernels.generated.dispatch(recorder, attention.generated, rows);
    else kernels.prompt.dispatch(recorder, attention.prompt, rows);
    for (const step of rest) step[rows.regime](recorder, rows);
  }

  #bindProjection(layer: LayerWeights, { attention, cache, stream }: LayerPlace): Products[] {
    const { spec, rotations: tables } = this.#kit;
    const { headNorm, heads, kvHeads, headDim, rmsNormEps: epsilon } = spec;
    const { queries, projected } = this.#kit.activations;
    const { rows, ranges: range } = this.#kit.table;
    const rotations = tables.get(attention.rope)!;
    const normed = { epsilon, headShape: spec, inputStride: streamStride(spec.hiddenSize) };
    if (!headNorm) {
      return layer.qkv.map((part) =>
        this.#products(
          "qkv",
          part,
          { ...normed, resultOffset: part.firstColumn / 2 },
          {
            input: stream,
            ...{ rows, rotations, queries, ...cache },
          },
        ),
      );
    }
    const resultStride = (heads + 2 * kvHeads) * headDim;
    const products = layer.qkv.map((part) =>
      this.#products(
        "qkv",
        part,
        { ...normed, resultStride, resultOffset: part.firstColumn },
        {
          input: stream,
          output: projected,
        },
      ),
    );
    const place = this.#kit.kernels.placeHeads!;
    const group = place.bind({
      ...{ range, rows, projected, rotations, queries, ...cache },
      shape: this.#kit.constants.uniform(placeHeadsShape(spec, headNorm, epsilon)),
      queryNorm: layer.queryNorm!,
      keyNorm: layer.keyNorm!,
    });
    return [...products, inBothRegimes((recorder, set) => place.dispatch(recorder, group, set, spec))];
  }

  #bindAttention({ attention: { window }, cache }: LayerPlace): BoundLayer["attention"] {
    const { spec, contextLength } = this.#kit;
    const { queries, attended, partialSums, partialSoftmax } = this.#kit.activations;
    const rule = { scale: spec.attentionScale, softCap: spec.attentionSoftCap, window };
    const { rows, ranges: range, pages, lanePages } = this.#kit.table;
    const words = attentionShape(spec, contextLength, rule, paddedSize(spec.heads * spec.headDim), lanePages);
    const seen = { range, rows, pages, queries, attended, ...cache, shape: this.#kit.constants.uniform(words) };
    const { attention } = this.#kit.kernels;
    return {
      generated: attention.generated.bind({ ...seen, partialSums, partialSoftmax }),
      prompt: attention.prompt.bind(seen),
    };
  }

  /** Gate and up: one product in as many parts as there are, or two that are stored and then gated. */
  #bindGated({ gateUp, ungated }: LayerWeights, stream: GPUBuffer): Products[] {
    const { hiddenSize, intermediateSize, rmsNormEps: epsilon } = this.#kit.spec;
    const { gated, ungated: products } = this.#kit.activations;
    const input = { epsilon, inputStride: streamStride(hiddenSize) };
    const fused = { ...input, resultStride: paddedSize(intermediateSize) };
    const pairs = gateUp.map((part) =>
      this.#products("gateUp", part, { ...fused, resultOffset: part.firstColumn }, { input: stream, output: gated }),
    );
    if (ungated.length === 0) return pairs;
    const stored = { ...input, resultStride: 2 * intermediateSize };
    const singles = ungated.map((part) =>
      this.#products(
        "ungated",
        part,
        { ...stored, resultOffset: part.firstColumn },
        { input: stream, output: products },
      ),
    );
    const gate = this.#kit.kernels.gate;
    const shape = this.#kit.constants.uniform(gateShape(intermediateSize));
    const group = gate.bind({ range: this.#kit.table.ranges, shape, products, output: gated });
    return [...singles, inBothRegimes((recorder, rows) => gate.dispatch(recorder, group, rows, intermediateSize))];
  }

  /** The product that ends a block: it adds to the stream, or is stored to be normed and added. */
  #bindBlockEnd(
    product: "output" | "down",
    matrix: Matrix,
    input: GPUBuffer,
    { postNorm: weight, nextNorm, stream }: { postNorm: GPUBuffer | undefined; nextNorm: GPUBuffer; stream: GPUBuffer },
  ): Products[] {
    const { hiddenSize, rmsNormEps, residualScale: factor } = this.#kit.spec;
    const { unadded } = this.#kit.activations;
    if (!weight) {
      return [this.#products(product, matrix, { factor }, { input, normWeight: nextNorm, stream })];
    }
    const stored = this.#products(
      product,
      matrix,
      { resultStride: paddedSize(hiddenSize) },
      { input, output: unadded },
    );
    const add = this.#kit.kernels.addNormed!;
    const group = add.bind({
      range: this.#kit.table.ranges,
      shape: this.#kit.constants.uniform(addNormedShape(hiddenSize, rmsNormEps)),
      ...{ product: unadded, weight, nextWeight: nextNorm, stream },
    });
    return [stored, inBothRegimes((recorder, rows) => add.dispatch(recorder, group, rows))];
  }

  /** A product of a layer; its kind says which of the buffers it takes. */
  #products(
    product: LayerProduct,
    matrix: Matrix,
    size: Partial<MatmulSize>,
    buffers: Partial<FormBuffers<ManyRowForm>>,
  ): Products {
    return this.product(productKind(this.#kit.spec, product, matrix, this.#kit.kvType), matrix, size, buffers);
  }

  /** A product of rows of both regimes. */
  product(
    kind: MatmulKind<ManyRowForm>,
    matrix: Matrix,
    size: Partial<MatmulSize>,
    buffers: Partial<FormBuffers<ManyRowForm>>,
  ): Products {
    const { kernels } = this.#kit;
    this.#kinds.set(kindName(kind), kind);
    const parts = this.#parts(kind.form, matrix, size, buffers as FormBuffers<ManyRowForm>);
    return { generated: kernels.generated(kind, parts), prompt: kernels.prompt(kind, parts) };
  }

  #parts<F extends MatmulForm>(
    form: F,
    { weight, scales, inputSize, columns }: Matrix,
    size: Partial<MatmulSize>,
    buffers: FormBuffers<F>,
  ): ProductParts<F> {
    const shared = { range: this.#kit.table.ranges, weight, scales };
    return {
      size: { ...size, inputSize, outputs: columns / widthOf(form) },
      // The form's own buffers and the shared ones are all but the shape.
      buffers: { ...buffers, ...shared } as unknown as ProductParts<F>["buffers"],
      uniform: (words) => this.#kit.constants.uniform(words),
    };
  }
}

/** A kernel that is the same for rows of both regimes. */
function inBothRegimes(product: Product): Products {
  return { generated: product, prompt: product };
}
