/**
 * Readback: what a submission leaves in buffers, copied into one that is mapped when the submission is done. Several are in
 * flight at a time, each in a slot of its own.
 */

import type { GpuError } from "../errors.ts";
import type { Recorder } from "./commands.ts";
import type { Device } from "./device.ts";
import { BufferUsage } from "./usage.ts";

/** What is read: bytes of a buffer, a multiple of 4, from its beginning or from another multiple of 4 on. */
export interface ReadbackPart {
  buffer: GPUBuffer;
  offset?: number;
  bytes: number;
}

/** A part in its slot, to be read after the submission. */
export interface Readback {
  readonly bytes: number;
  /** To be called once, after the submission. One buffer for each part. @param own what was wrong with the submission */
  read(own: Promise<GpuError | undefined>): Promise<ArrayBuffer[]>;
  /** To be called instead, where there was no submission. */
  cancel(): void;
}

export class ReadbackRing {
  readonly #device: Device;
  readonly #owner: string;
  /** Slots that nothing is in. */
  readonly #free: GPUBuffer[] = [];
  #slotBytes = 0;

  constructor(device: Device, owner: string) {
    this.#device = device;
    this.#owner = owner;
  }

  /** Records the copies of `parts` into a free slot. */
  record(recorder: Recorder, parts: readonly ReadbackPart[]): Readback {
    const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
    const slot = this.#take(total);
    let offset = 0;
    for (const { buffer, offset: from = 0, bytes } of parts) {
      recorder.copy(buffer, from, slot, offset, bytes);
      offset += bytes;
    }
    return {
      bytes: total,
      cancel: () => this.#device.ledger.release(slot),
      read: async (own) => {
        const bytes = await this.#device.read(slot, total, own).catch((error: unknown) => {
          this.#device.ledger.release(slot);
          throw error;
        });
        if (slot.size === this.#slotBytes) this.#free.push(slot);
        else this.#device.ledger.release(slot);
        let start = 0;
        return parts.map((part) => {
          const end = start + part.bytes;
          const read = bytes.slice(start, end);
          start = end;
          return read;
        });
      },
    };
  }

  #take(bytes: number): GPUBuffer {
    if (bytes > this.#slotBytes) {
      for (const slot of this.#free.splice(0)) this.#device.ledger.release(slot);
      this.#slotBytes = bytes;
    }
    const { MAP_READ, COPY_DST } = BufferUsage;
    return (
      this.#free.pop() ?? this.#device.ledger.allocate(this.#owner, "readback", this.#slotBytes, MAP_READ | COPY_DST)
    );
  }
}
