/** What is read back of a round: its report, and what its selection tells beside it. */

import type { ReadbackPart } from "../gpu/readback_ring.ts";
import { decodeReport, type Report, reportBytes } from "../kernels/layer_skip.ts";
import { decodeLogProbs, LOG_PROBS_BYTES, type RowLogProbs } from "../kernels/sampling.ts";
import type { RoundState } from "./round_state.ts";
import type { Selection } from "./selection/selection.ts";

/** Which parts there are. */
export interface ReportLayout {
  /** The text's. */
  lane: number;
  /** Rows of the round, at most. */
  rows: number;
  /** Drafts of layers among them, at most: those whose probability is known. */
  chain: number;
  selection: Selection;
  /** Number of shadow exits. */
  shadows: number;
}

export interface RoundReport extends Report {
  /** Of each draft, under the draft's own distribution; empty where they are not computed. */
  probabilities: number[];
  /** Of each emitted token, where they are wanted. */
  logProbs: RowLogProbs[] | undefined;
  /** What each shadow exit chose where the round emitted a token. */
  shadowIds: number[][];
}

/** What is copied for the host to read. */
export function reportParts(state: RoundState, { lane, rows, selection, shadows }: ReportLayout): ReadbackPart[] {
  const { probabilities, logProbs } = selection;
  return [
    { ...state.lane(lane).report, bytes: reportBytes(rows) },
    ...state.shadows.slice(0, shadows).map((buffer) => ({ buffer, bytes: rows * 4 })),
    ...(probabilities ? [{ buffer: probabilities, bytes: rows * 4 }] : []),
    ...(logProbs ? [{ buffer: logProbs.buffer, bytes: rows * LOG_PROBS_BYTES }] : []),
  ];
}

/** Reads what `reportParts` listed. */
export function readReport(
  parts: readonly ArrayBuffer[],
  { rows, chain, selection, shadows }: ReportLayout,
): RoundReport {
  const [head, ...rest] = parts;
  const report = decodeReport(head!);
  /** What is told of each row, as the emitted tokens have it. */
  const ofEmitted = <T>(values: ArrayLike<T>): T[] => report.path.map((row) => values[row]!);
  const shadowBytes = rest.splice(0, shadows);
  const chained = Math.min(report.drafted, chain);
  const probabilities = selection.probabilities ? new Float32Array(rest.shift()!, 0, chained) : [];
  const { logProbs } = selection;
  return {
    ...report,
    probabilities: [...probabilities],
    logProbs: logProbs && ofEmitted(decodeLogProbs(rest.shift()!, rows, logProbs.top)),
    shadowIds: shadowBytes.map((bytes) => ofEmitted(new Uint32Array(bytes))),
  };
}
