/** The kernels of a model on a device: one of each kind, for both regimes of rows. */

import type { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { AddNormed } from "../kernels/add_normed.ts";
import type { KernelChoice } from "../kernels/choice.ts";
import { Embedding } from "../kernels/embedding.ts";
import { FewQueryAttention } from "../kernels/few_query_attention.ts";
import { bucketsFor, FewRowMatmul } from "../kernels/few_row_matmul.ts";
import { Gate } from "../kernels/gate.ts";
import type { RowSet } from "../kernels/kernel.ts";
import { type ManyRowForm, ManyRowMatmul, takesInt8 } from "../kernels/many_row_matmul.ts";
import {
  kindName,
  type MatmulBinding,
  type MatmulForm,
  type MatmulKind,
  type MatmulSize,
} from "../kernels/matmul_form.ts";
import { PlaceHeads } from "../kernels/place_heads.ts";
import { PromptAttention } from "../kernels/prompt_attention.ts";
import { RmsNorm } from "../kernels/rms_norm.ts";
import { formatName, type WeightFormat } from "../kernels/weight_format.ts";
import type { Activation, ModelSpec } from "../model/spec.ts";

/** What a row is: of a prompt, or generated. */
export type Regime = "generated" | "prompt";

/** A matmul with its buffers bound: records the product of some rows. */
export type Product = (recorder: Recorder, rows: RowSet) => void;

/** What a product of either regime needs to be bound. */
export interface ProductParts<F extends MatmulForm> {
  size: MatmulSize;
  /** All buffers of the form but its shape. */
  buffers: Readonly<Omit<Record<MatmulBinding<F>, GPUBuffer>, "shape">>;
  /** Makes a uniform of these words. */
  uniform: (words: Uint32Array<ArrayBuffer>) => GPUBuffer;
}

export class LayerKernels {
  readonly finalNorm: RmsNorm;
  /** Where a family norms queries and keys, or the output of a block. */
  readonly placeHeads: PlaceHeads | undefined;
  readonly addNormed: AddNormed | undefined;
  #gate: Gate | undefined;
  readonly attention: { generated: FewQueryAttention; prompt: PromptAttention };
  readonly #device: Device;
  readonly #activation: Activation;
  readonly #choice: KernelChoice;
  readonly #embeddings = new Map<string, Embedding>();
  readonly #few = new Map<string, FewRowMatmul>();
  readonly #many = new Map<string, ManyRowMatmul>();

  constructor(
    device: Device,
    { heads, kvHeads, headDim, headNorm, norms, activation }: ModelSpec,
    choice: KernelChoice,
  ) {
    this.#device = device;
    this.#choice = choice;
    this.#activation = activation;
    this.finalNorm = new RmsNorm(device);
    this.placeHeads = headNorm && new PlaceHeads(device, choice.kv);
    this.addNormed = norms === "before" ? undefined : new AddNormed(device);
    const shape = { heads, kvHeads, headDim, kvType: choice.kv };
    this.attention = {
      generated: new FewQueryAttention(device, { ...shape, variant: choice.attention }),
      prompt: new PromptAttention(device, { ...shape, variant: choice.promptAttention }),
    };
  }

  /** For gate and up that are products of their own. */
  get gate(): Gate {
    this.#gate ??= new Gate(this.#device, this.#activation);
    return this.#gate;
  }

  embedding(format: WeightFormat): Embedding {
    return kept(this.#embeddings, formatName(format), () => new Embedding(this.#device, format));
  }

  /** A product of generated rows. */
  generated<F extends MatmulForm>(kind: MatmulKind<F>, parts: ProductParts<F>): Product {
    const matmul = this.#fewRow(kind);
    const shape = parts.uniform(matmul.shape(parts.size));
    const bound = matmul.bind(buffersOf({ ...parts.buffers, shape }), parts.size.outputs);
    return (recorder, rows) => matmul.record(recorder, bound, rows);
  }

  /** A product of rows of a prompt. */
  prompt<F extends ManyRowForm>(kind: MatmulKind<F>, parts: ProductParts<F>): Product {
    const matmul = this.#manyRow(kind);
    const shape = parts.uniform(matmul.shape(parts.size));
    const bound = matmul.bind(buffersOf({ ...parts.buffers, shape }), parts.size.outputs);
    return (recorder, rows) => matmul.record(recorder, bound, rows);
  }

  /** What was left out because rows beside each other change their bits with it on this device. */
  get warnings(): string[] {
    return [...this.#few.values()].flatMap(({ kind, refused }) =>
      refused.map((rows) => `${kindName(kind)} is not computed ${rows} rows at once on this device`),
    );
  }

  /** Whether several generated rows can go through products of these kinds in one pass that reads the weights once. */
  takesRowsTogether(kinds: readonly MatmulKind[]): boolean {
    return kinds.every((kind) => this.#fewRow(kind).buckets.length > 1);
  }

  /** Numbers of rows that products of these kinds compute at a time; what a pass has fewer of is computed all the same. */
  rowBuckets(kinds: readonly MatmulKind[]): number[] {
    const few = kinds.map((kind) => this.#fewRow(kind));
    return bucketsFor(few.length).filter((bucket) => few.every(({ buckets }) => buckets.includes(bucket)));
  }

  /**
   * Compiles what prompts and passes of generated rows need.
   * @param rowCounts numbers of generated rows a pass may have
   * @param generated the products of generated rows, of those asked for so far
   * @param prompt the products of rows of a prompt
   */
  async prepare(
    rowCounts: readonly number[],
    generated: readonly MatmulKind[],
    prompt: readonly MatmulKind<ManyRowForm>[],
  ): Promise<void> {
    const few = [...new Set(generated.map((kind) => this.#fewRow(kind)))];
    const buckets = bucketsFor(few.length);
    await Promise.all([
      this.finalNorm.prepare(),
      this.placeHeads?.prepare(),
      this.addNormed?.prepare(),
      this.#gate?.prepare(),
      this.attention.generated.prepare(),
      this.attention.prompt.prepare(),
      ...[...this.#embeddings.values()].map((embedding) => embedding.prepare()),
      ...few.flatMap((matmul) => rowCounts.map((count) => matmul.prepare(count, buckets))),
      ...[...new Set(prompt.map((kind) => this.#manyRow(kind)))].map((matmul) => matmul.prepare()),
    ]);
  }

  #fewRow(kind: MatmulKind): FewRowMatmul {
    return kept(this.#few, kindName(kind), () => new FewRowMatmul(this.#device, kind, this.#choice.fewRows));
  }

  #manyRow<F extends ManyRowForm>(kind: MatmulKind<F>): ManyRowMatmul {
    // What is put into a model (an exit adapter) may be of other formats than what was chosen for the model.
    const { manyRows } = this.#choice;
    const variant = manyRows === "int8" && !takesInt8(kind.format) ? "tiles" : manyRows;
    return kept(this.#many, kindName(kind), () => new ManyRowMatmul(this.#device, kind, variant));
  }
}

/** The buffers of one form as those of any: a kernel looks its own up by name and throws where one is missing. */
function buffersOf(buffers: object): Readonly<Record<MatmulBinding, GPUBuffer>> {
  return buffers as Readonly<Record<MatmulBinding, GPUBuffer>>;
}

function kept<T>(map: Map<string, T>, name: string, make: () => T): T {
  const value = map.get(name) ?? make();
  map.set(name, value);
  return value;
}
