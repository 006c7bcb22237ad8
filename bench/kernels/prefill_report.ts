/** What `bench prefill` prints. */

import { columns, deviceLine, digits, ratioRange, table } from "./markdown.ts";
import type { PrefillResult } from "./prefill.ts";
import type { ReportHead } from "./report.ts";

export function prefillReport(
  { device, dtype, repetitions }: ReportHead,
  shape: string,
  { tokens, steps, prefillMs, stepMs, factor }: PrefillResult,
): string {
  return [
    deviceLine(device),
    `Shape: ${shape} with random weights in ${dtype}. A prompt of ${tokens} tokens against as many plain steps, of which ` +
      `${steps} were measured, spread over its positions. Medians of ${repetitions} pairs.`,
    "",
    ...table(columns("prefill ms:", "one step ms:", "steps / prefill:", "(range)"), [
      [digits(prefillMs.median), digits(stepMs.median), factor.median.toFixed(2), ratioRange(factor)],
    ]),
    "",
  ].join("\n");
}
