/** What `bench positions` prints and plots. */

import { columns, deviceLine, digits, percent, table } from "./markdown.ts";
import { plotSvg } from "./plot.ts";
import type { PositionsResult } from "./positions.ts";
import type { ReportHead } from "./report.ts";

/** What the cost of a token is a line of, and how good the line's slope is. */
export function positionsReport(
  { device, dtype, repetitions }: ReportHead,
  shape: string,
  { rows, line, largestDeviation, attention, slopeRatio }: PositionsResult,
): string {
  const { unit, perPosition, matmulRate, msPerPosition } = attention;
  const bytes = unit === "bytes";
  const counted = bytes ? "reads so many bytes of keys and values" : "does so many multiplications and additions";
  return [
    deviceLine(device),
    `Shape: ${shape} with random weights in ${dtype}. One plain step at each position; medians of ${repetitions}, in turn.`,
    "",
    ...table(
      columns("position:", "ms/token:", "(range)", "line:", "off the line:"),
      rows.map(({ position, ms, offLine }) => [
        String(position),
        digits(ms.median),
        ms.range.map(digits).join("-"),
        digits(line.intercept + line.slope * position),
        `${offLine < 0 ? "-" : "+"}${percent(Math.abs(offLine))}`,
      ]),
    ),
    "",
    `Line: ${digits(line.intercept)} ms + ${digits(1000 * line.slope)} us a position; ` +
      `largest deviation ${percent(largestDeviation)}.`,
    `Attention ${counted} a position: ${perPosition.toLocaleString("en-US")}. ` +
      `At the ${digits(matmulRate.median)} ${bytes ? "GB/s" : "GFLOP/s"} of the layer's matmuls in the same run ` +
      `they take ${digits(1000 * msPerPosition)} us: the slope is ${slopeRatio.toFixed(2)} times that.`,
    "",
  ].join("\n");
}

/** The same as a picture. */
export function positionsPlot(
  { device, dtype, repetitions }: ReportHead,
  shape: string,
  { rows, line }: PositionsResult,
): string {
  return plotSvg({
    title: `Milliseconds a token by position: ${shape}, ${dtype}`,
    caption: [`Medians of ${repetitions} with ranges, and their least-squares line.`, deviceLine(device)],
    xTitle: "position",
    yTitle: "ms/token",
    points: rows.map(({ position, ms }) => ({ x: position, y: ms.median, low: ms.range[0], high: ms.range[1] })),
    line,
  });
}
