/**
 * What followed each token lately: Token Recycling's matrix (Luo et al. 2024), 32 bytes an id of the vocabulary. It
 * learns from every verified row and is kept from text to text.
 */

import type { PassRows } from "../../forward/row_table.ts";
import type { Recorder } from "../../gpu/commands.ts";
import { BufferUsage } from "../../gpu/usage.ts";
import { FOLLOWERS, NONE, ROW_CAPACITY } from "../../kernels/constants.ts";
import { TopIds } from "../../kernels/drafting.ts";
import { checkTopIds } from "../../kernels/top_ids_check.ts";
import type { Selection, TargetSelection } from "../selection/selection.ts";
import type { DraftingKit } from "./drafter.ts";

const OWNER = "followers";

export class Followers {
  /** `[vocabSize][FOLLOWERS]` ids, the likeliest first; NONE: nothing is known. */
  get buffer(): GPUBuffer {
    if (!this.#buffer) throw new Error("followers were used before they were prepared");
    return this.#buffer;
  }

  #buffer: GPUBuffer | undefined;
  #allocation: Promise<GPUBuffer> | undefined;
  readonly #kit: DraftingKit;
  readonly #kernel: TopIds;
  /** With targets that are read, and with targets that are not. */
  #groups: { choosing: GPUBindGroup; watching: GPUBindGroup } | undefined;
  /** Whether the logits tell the same choice as the head's other form, to the bit. */
  #logitsChoose = false;

  constructor(kit: DraftingKit) {
    this.#kit = kit;
    this.#kernel = new TopIds(kit.device);
  }

  /** @throws GpuMemoryError */
  async allocate(): Promise<GPUBuffer> {
    const { device, forward } = this.#kit;
    const { STORAGE, COPY_DST, COPY_SRC } = BufferUsage;
    const nothing = new Uint32Array(forward.spec.vocabSize * FOLLOWERS).fill(NONE);
    this.#allocation ??= device.allocating(OWNER, nothing.byteLength, () => {
      const buffer = device.ledger.allocate(OWNER, "followers", nothing.byteLength, STORAGE | COPY_DST | COPY_SRC);
      device.handle.queue.writeBuffer(buffer, 0, nothing);
      return buffer;
    });
    try {
      this.#buffer = await this.#allocation;
    } catch (error) {
      this.#allocation = undefined;
      throw error;
    }
    return this.#buffer;
  }

  /** Compiles and allocates what learning from passes of so many rows needs. */
  async prepare(rowCounts: readonly number[]): Promise<void> {
    const { device, forward, table, state } = this.#kit;
    await this.allocate();
    const [logits, agree] = await Promise.all([
      forward.prepareLogits(rowCounts, "generated"),
      forward.headFormsAgree(),
      this.#kernel.prepare(),
    ]);
    this.#logitsChoose = agree;
    if (this.#groups) return;
    await checkTopIds(device);
    const { STORAGE, UNIFORM, COPY_DST } = BufferUsage;
    const shape = device.ledger.allocate(OWNER, "shape", 16, UNIFORM | COPY_DST);
    device.handle.queue.writeBuffer(shape, 0, new Uint32Array([forward.spec.vocabSize]));
    const unread = device.ledger.allocate(OWNER, "unread targets", ROW_CAPACITY * 4, STORAGE);
    const bind = (targets: GPUBuffer) =>
      this.#kernel.bind({
        ...{ range: table.ranges, shape, rows: table.rows },
        ...{ logits, followers: this.buffer, targets },
      });
    this.#groups = { choosing: bind(state.targets), watching: bind(unread) };
  }

  /**
   * A selection that chooses the same and lets the followers learn from what it has seen. Where that takes a head more, only rounds
   * that draw on the followers do.
   */
  watch(selection: Selection): Selection {
    const { target } = selection;
    const { head } = this.#kit.forward;
    const watching: TargetSelection = {
      target: (recorder, rows) => {
        if (selection.largestLogit && this.#logitsChoose) {
          head.logits(recorder, rows);
          this.#learn(recorder, rows, "choosing");
        } else {
          target.target(recorder, rows);
          if (!selection.leavesLogits) head.logits(recorder, rows);
          this.#learn(recorder, rows, "watching");
        }
      },
      shadow: (recorder, rows, index) => target.shadow(recorder, rows, index),
      accepted: (recorder, rows) => target.accepted?.(recorder, rows),
    };
    const costs = !selection.leavesLogits && !(selection.largestLogit && this.#logitsChoose);
    return { ...selection, target: watching, ...(costs && { unwatched: target }) };
  }

  /** Reads the matrix. */
  async read(): Promise<Uint32Array<ArrayBuffer>> {
    return new Uint32Array(await this.#kit.device.contents(await this.allocate()));
  }

  /** Replaces the matrix. What is no id counts as nothing known. */
  async write(words: Uint32Array<ArrayBuffer>): Promise<void> {
    this.#kit.device.handle.queue.writeBuffer(await this.allocate(), 0, words);
  }

  #learn(recorder: Recorder, rows: PassRows, how: "choosing" | "watching"): void {
    this.#kernel.dispatch(recorder, this.#groups![how], rows);
  }
}
