/** Scoring: the logits of given positions of a text, from the full model or from an exit layer. */

import type { Forward } from "../forward/forward.ts";
import type { Regime } from "../forward/layer_kernels.ts";
import type { RowTable } from "../forward/row_table.ts";
import { Recorder } from "../gpu/commands.ts";
import type { Device } from "../gpu/device.ts";
import { BufferUsage } from "../gpu/usage.ts";
import { ROW_CAPACITY } from "../kernels/constants.ts";

/** What is to be scored, checked and complete. */
export interface ScoreRequest {
  ids: readonly number[];
  at: readonly number[];
  exitLayer: number;
  /** Rows of a forward pass, at most `ROW_CAPACITY`; no result depends on it. */
  rowsPerPass?: number;
  /** The kernels the text goes through: those of a prompt, if not said otherwise. */
  regime?: Regime;
  signal?: AbortSignal | undefined;
}

/**
 * Logits after layers [0, exitLayer), final norm and head, at each position of `at`.
 * @returns one row of `vocabSize` numbers for each entry of `at`
 * @throws GpuMemoryError | GpuError | DeviceLostError | DisposedError | the signal's reason
 */
export async function score(
  device: Device,
  forward: Forward,
  table: RowTable,
  { ids, at, exitLayer, rowsPerPass = ROW_CAPACITY, regime = "prompt", signal }: ScoreRequest,
): Promise<Float32Array[]> {
  const { vocabSize } = forward.spec;
  const rowBytes = vocabSize * 4;
  await forward.prepareLogits([Math.min(ids.length, rowsPerPass), ids.length % rowsPerPass || rowsPerPass], regime);
  const rows = new Map<number, Float32Array>();
  const usage = BufferUsage.MAP_READ | BufferUsage.COPY_DST;
  const readbackBytes = rowsPerPass * rowBytes;
  const readback = await device.allocating("logits", readbackBytes, () =>
    device.ledger.allocate("readback", "logits", readbackBytes, usage),
  );
  try {
    for (let start = 0; start < ids.length; start += rowsPerPass) {
      signal?.throwIfAborted();
      const chunkIds = ids.slice(start, start + rowsPerPass);
      const wanted = [...new Set(at)].filter((position) => position >= start && position < start + chunkIds.length);
      const { chunk } = table.writeChunk(chunkIds, start, regime);
      const recorder = new Recorder(device.handle, "score");
      forward.forward(recorder, chunk, 0, exitLayer);
      if (wanted.length > 0) {
        const logits = forward.head.logits(recorder, chunk);
        for (const [i, position] of wanted.entries()) {
          recorder.copy(logits, (position - start) * rowBytes, readback, i * rowBytes, rowBytes);
        }
      }
      device.submit(recorder);
      if (wanted.length > 0) {
        const bytes = await device.read(readback, wanted.length * rowBytes);
        for (const [i, position] of wanted.entries()) {
          rows.set(position, new Float32Array(bytes, i * rowBytes, vocabSize));
        }
      }
    }
    device.check();
  } finally {
    device.ledger.release(readback);
  }
  return at.map((position) => rows.get(position)!);
}
