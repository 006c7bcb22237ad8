/** The plot: round ticks, and everything where it belongs. */

import { expect, test } from "vitest";
import { plotSvg, ticks } from "../../bench/kernels/plot.ts";

test.each([
  [4000, [0, 1000, 2000, 3000, 4000]],
  [11, [0, 2, 4, 6, 8, 10, 12]],
  [0.5, [0, 0.1, 0.2, 0.3, 0.4, 0.5]],
  [60, [0, 10, 20, 30, 40, 50, 60]],
])("ticks to %s are round and reach it", (most, expected) => {
  expect(ticks(most)).toEqual(expected);
});

test("a point on the line is drawn on it, and text is escaped", () => {
  const svg = plotSvg({
    title: "a < b & c",
    caption: ["small print"],
    xTitle: "x",
    yTitle: "y",
    points: [
      { x: 0, y: 0, low: 0, high: 0 },
      { x: 4000, y: 10, low: 8, high: 12 },
    ],
    line: { intercept: 0, slope: 10 / 4000 },
  });
  expect(svg).toContain("a &lt; b &amp; c");
  const [, , end] = [
    ...svg.matchAll(/class="line" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"/g),
  ][0]!.slice(2);
  const circles = [...svg.matchAll(/cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, cx, cy]) => [cx, cy]);
  expect(circles[1]![1]).toBe(end);
  expect(svg).toContain(">small print<");
  expect(svg).not.toMatch(/NaN|undefined|Infinity/);
});
