/** How often exits of a model choose what all of its layers do, at the positions of given texts. */

import { CandidateChoice } from "../decode/selection/candidates.ts";
import type { ExitAdapter } from "../forward/exit_adapter.ts";
import type { Forward } from "../forward/forward.ts";
import type { Head } from "../forward/head.ts";
import type { PassRows, RowTable } from "../forward/row_table.ts";
import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import type { Pace } from "../gpu/pace.ts";
import { PacedQueue } from "../gpu/paced_queue.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { ROW_CAPACITY } from "../kernels/constants.ts";

const OWNER = "exit agreement";

/** A text, and from which position on exits are compared. */
export interface ComparedText {
  /** At most `contextLength`. */
  ids: readonly number[];
  from?: number;
}

/** Of so many positions. */
export interface ExitAgreement {
  exitLayer: number;
  agreed: number;
  positions: number;
}

export interface AgreementOptions {
  /** Exits of the model by itself. */
  exitLayers: readonly number[];
  /** Compared too: adapters, loaded or not. */
  adapters?: readonly ExitAdapter[];
  /** Called before each submission, with how many positions are through. */
  breath?: (done: number) => Promise<void>;
}

/** An exit that chooses: its place among those of a pass, and how its choice becomes an id. */
interface Chooser {
  exitLayer: number;
  adapter: ExitAdapter | undefined;
  head: Head;
  choice: CandidateChoice;
}

/**
 * @returns in the order of `exitLayers`, then of `adapters`
 * @throws GpuMemoryError | GpuError | DeviceLostError | DisposedError, and what `breath` throws
 */
export async function exitAgreement(
  device: Device,
  forward: Forward,
  table: RowTable,
  texts: readonly ComparedText[],
  { exitLayers, adapters = [], breath = async () => {} }: AgreementOptions,
): Promise<ExitAgreement[]> {
  const { layers } = forward.spec;
  await forward.preparePrompts([ROW_CAPACITY]);
  for (const adapter of adapters) await adapter.prepare([1]);
  const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = BufferUsage;
  const count = exitLayers.length + adapters.length + 1;
  const rowBytes = ROW_CAPACITY * 4;
  try {
    const { choosers, targets, readback } = await device.allocating(OWNER, count * rowBytes, () => {
      const targets = device.ledger.allocate(OWNER, "choices", rowBytes, STORAGE | COPY_SRC);
      const readback = device.ledger.allocate(OWNER, "readback", count * rowBytes, MAP_READ | COPY_DST);
      const chooser = (exitLayer: number, head: Head, adapter?: ExitAdapter): Chooser => {
        const { candidates, candidatesPerRow } = head;
        const into = { targets, shadows: [] };
        return {
          ...{ exitLayer, adapter, head },
          choice: new CandidateChoice(device, OWNER, table, candidates, candidatesPerRow, into),
        };
      };
      const choosers = [
        ...exitLayers.map((exitLayer) => chooser(exitLayer, forward.head)),
        ...adapters.map((adapter) => chooser(adapter.exitLayer, adapter.head, adapter)),
        chooser(layers, forward.head),
      ];
      return { choosers, targets, readback };
    });
    await Promise.all(choosers.map(({ choice }) => choice.prepare()));
    const agreed = choosers.map(() => 0);
    let positions = 0;
    let through = 0;
    const queue = new PacedQueue(device, {
      ...{ first: ROW_CAPACITY, least: ROW_CAPACITY, most: ROW_CAPACITY * layers, inFlight: 2 },
    });
    const passing = new Passing(device, forward, queue, choosers);
    for (const { ids, from = 0 } of texts) {
      for (let start = 0; start < ids.length; start += ROW_CAPACITY) {
        const { chunk } = table.writeChunk(ids.slice(start, start + ROW_CAPACITY), start);
        // The choices of positions that nobody asks for are not computed.
        const wanted = start + chunk.count > from;
        await passing.pass(
          chunk,
          wanted,
          () => breath(through),
          (recorder, i) => recorder.copy(targets, 0, readback, i * rowBytes, rowBytes),
        );
        through += chunk.count;
        if (!wanted) continue;
        const words = new Uint32Array(await device.read(readback, readback.size));
        const chosen = choosers.map(({ adapter }, i) => {
          const own = words.subarray(i * ROW_CAPACITY, i * ROW_CAPACITY + chunk.count);
          const { hotIds } = adapter ?? {};
          return hotIds ? own.map((place) => hotIds[place] ?? place) : own;
        });
        const full = chosen.at(-1)!;
        for (let row = Math.max(0, from - start); row < chunk.count; row++) {
          positions++;
          for (const [i, ids] of chosen.entries()) if (ids[row] === full[row]) agreed[i]!++;
        }
      }
    }
    device.check();
    return choosers.slice(0, -1).map(({ exitLayer }, i) => ({ exitLayer, agreed: agreed[i]!, positions }));
  } finally {
    device.ledger.releaseOwner(OWNER);
  }
}

/** The way of rows through all layers, and what each exit chooses on it: in submissions that are short, a head in one of its own. */
class Passing {
  readonly #device: Device;
  readonly #forward: Forward;
  readonly #queue: PacedQueue;
  readonly #headPace: Pace;
  /** In the order of their layers, with their places in the result. */
  readonly #choosers: readonly (Chooser & { place: number })[];

  constructor(device: Device, forward: Forward, queue: PacedQueue, choosers: readonly Chooser[]) {
    this.#device = device;
    this.#forward = forward;
    this.#queue = queue;
    this.#headPace = queue.newPace();
    const placed = choosers.map((chooser, place) => ({ ...chooser, place }));
    this.#choosers = placed.sort((a, b) => a.exitLayer - b.exitLayer);
  }

  /**
   * @param chooses whether exits choose
   * @param breath called before each submission
   * @param chosen records where a choice goes, by the chooser's place
   */
  async pass(
    rows: PassRows,
    chooses: boolean,
    breath: () => Promise<void>,
    chosen: (recorder: Recorder, place: number) => void,
  ): Promise<void> {
    let from = 0;
    for (const { exitLayer, adapter, head, choice, place } of this.#choosers) {
      await this.#layers(rows, from, exitLayer, breath);
      from = exitLayer;
      if (!chooses) continue;
      await breath();
      const recorder = new Recorder(this.#device.handle, "exit agreement");
      if (adapter) {
        // One that is loaded has its keys and values already.
        if (adapter !== this.#forward.exitAdapter) adapter.pass(recorder, rows);
        adapter.finish(recorder, rows);
      }
      head.argmax(recorder, rows);
      choice.target(recorder, rows);
      chosen(recorder, place);
      await this.#queue.submit(recorder, rows.count, this.#headPace);
    }
  }

  async #layers(rows: PassRows, fromLayer: number, toLayer: number, breath: () => Promise<void>): Promise<void> {
    for (let layer = fromLayer; layer < toLayer; ) {
      await breath();
      const to = Math.min(toLayer, layer + Math.max(1, Math.floor(this.#queue.units / rows.count)));
      const recorder = new Recorder(this.#device.handle, "exit agreement");
      this.#forward.forward(recorder, rows, layer, to);
      await this.#queue.submit(recorder, rows.count * (to - layer));
      layer = to;
    }
  }
}
