/** How often exits of a model choose what all of its layers do, at the positions of given texts. */

import { CandidateChoice } from "../decode/selection/candidates.ts";
import type { ExitAdapter } from "../forward/exit_adapter.ts";
import type { Forward } from "../forward/forward.ts";
import type { Head } from "../forward/head.ts";
import type { PassRows, RowTable } from "../forward/row_table.ts";
import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
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
  /** The exit is followed by the adapter. */
  adapter: boolean;
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
  await forward.prepare([1]);
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
    for (const { ids, from = 0 } of texts) {
      for (let start = 0; start < ids.length; start += ROW_CAPACITY) {
        await breath(through);
        const { chunk } = table.writeChunk(ids.slice(start, start + ROW_CAPACITY), start);
        const recorder = new Recorder(device.handle, "exit agreement");
        // The choices of positions that nobody asks for are not computed: no head, and no exit either.
        const wanted = start + chunk.count > from;
        passAll(recorder, forward, chunk, wanted ? choosers : [], (i) =>
          recorder.copy(targets, 0, readback, i * rowBytes, rowBytes),
        );
        device.submit(recorder);
        through += chunk.count;
        if (!wanted) continue;
        const words = new Uint32Array(await device.read(readback, readback.size));
        const chosen = choosers.map(({ adapter }, i) => {
          const own = words.subarray(i * ROW_CAPACITY, i * ROW_CAPACITY + chunk.count);
          const table = adapter?.hotIds;
          return table ? own.map((place) => table[place] ?? place) : own;
        });
        const full = chosen.at(-1)!;
        for (let row = Math.max(0, from - start); row < chunk.count; row++) {
          positions++;
          for (const [i, ids] of chosen.entries()) if (ids[row] === full[row]) agreed[i]!++;
        }
      }
    }
    device.check();
    return choosers.slice(0, -1).map(({ exitLayer, adapter }, i) => ({
      ...{ exitLayer, agreed: agreed[i]!, positions },
      adapter: adapter !== undefined,
    }));
  } finally {
    device.ledger.releaseOwner(OWNER);
  }
}

/** Records rows through all layers, and what each exit chooses on the way. */
function passAll(
  recorder: Recorder,
  forward: Forward,
  rows: PassRows,
  choosers: readonly Chooser[],
  told: (chooser: number) => void,
): void {
  const { layers } = forward.spec;
  const numbered = choosers.map((chooser, i) => ({ ...chooser, i }));
  let from = 0;
  for (const { exitLayer, adapter, head, choice, i } of numbered.sort((a, b) => a.exitLayer - b.exitLayer)) {
    forward.forward(recorder, rows, from, exitLayer);
    from = exitLayer;
    if (adapter) {
      // One that is loaded has its keys and values already.
      if (adapter !== forward.exitAdapter) adapter.pass(recorder, rows);
      adapter.finish(recorder, rows);
    }
    head.argmax(recorder, rows);
    choice.target(recorder, rows);
    told(i);
  }
  forward.forward(recorder, rows, from, layers);
}
