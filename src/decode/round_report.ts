/** What is read back of a round: its report, and what its selection tells beside it. */

import type { ReadbackPart } from "../gpu/readback_ring.ts";
import { ROW_CAPACITY } from "../kernels/constants.ts";
import { decodeReport, REPORT_BYTES, type Report } from "../kernels/layer_skip.ts";
import { decodeLogProbs, LOG_PROBS_BYTES, type RowLogProbs } from "../kernels/sampling.ts";
import type { RoundState } from "./round_state.ts";
import type { Selection } from "./selection/selection.ts";

/** Which parts there are. */
export interface ReportLayout {
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
export function reportParts(state: RoundState, { selection, shadows }: ReportLayout): ReadbackPart[] {
  const { probabilities, logProbs } = selection;
  return [
    { buffer: state.report, bytes: REPORT_BYTES },
    ...state.shadows.slice(0, shadows).map((buffer) => ({ buffer, bytes: ROW_CAPACITY * 4 })),
    ...(probabilities ? [{ buffer: probabilities, bytes: ROW_CAPACITY * 4 }] : []),
    ...(logProbs ? [{ buffer: logProbs.buffer, bytes: ROW_CAPACITY * LOG_PROBS_BYTES }] : []),
  ];
}

/** Reads what `reportParts` listed. */
export function readReport(parts: readonly ArrayBuffer[], { selection, shadows }: ReportLayout): RoundReport {
  const [reportBytes, ...rest] = parts;
  const report = decodeReport(reportBytes!);
  const shadowBytes = rest.splice(0, shadows);
  const probabilities = selection.probabilities ? new Float32Array(rest.shift()!, 0, report.drafted) : [];
  const { logProbs } = selection;
  return {
    ...report,
    probabilities: [...probabilities],
    logProbs: logProbs && decodeLogProbs(rest.shift()!, report.ids.length, logProbs.top),
    shadowIds: shadowBytes.map((bytes) => [...new Uint32Array(bytes, 0, report.ids.length)]),
  };
}
