/** A plot of measured points and their line, as the text of an SVG file. It has a background, so dark pages can show it. */

import type { Line } from "./statistics.ts";

/** A median, and the smallest and largest value. */
export interface PlotPoint {
  x: number;
  y: number;
  low: number;
  high: number;
}

export interface Plot {
  title: string;
  /** What was measured and where: lines of small print. */
  caption: readonly string[];
  xTitle: string;
  yTitle: string;
  points: readonly PlotPoint[];
  line: Line;
}

const SIZE = { width: 720, height: 440 };
const MARGIN = { left: 76, right: 24, top: 48, bottom: 100 };
/** Ticks that an axis has about. */
const TICKS = 6;
const CAP = 5;

const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #333; }
  .title { font-size: 16px; font-weight: 600; }
  .caption { font-size: 11px; fill: #666; }
  .grid { stroke: #e4e4e4; }
  .axis { stroke: #333; }
  .line { stroke: #b3541e; stroke-width: 2; }
  .range { stroke: #1f5f8b; stroke-width: 1.5; }
  .point { fill: #1f5f8b; }
`;

/** Round numbers from 0 to the first that is not below `most`: a step of 1, 2 or 5 times a power of ten. */
export function ticks(most: number): number[] {
  const rough = most / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const count = Math.ceil(most / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

/** Both axes begin at 0: differences look as large as they are. */
export function plotSvg({ title, caption, xTitle, yTitle, points, line }: Plot): string {
  const xTicks = ticks(Math.max(...points.map(({ x }) => x)));
  const yTicks = ticks(Math.max(...points.map(({ high }) => high)));
  const [xMost, yMost] = [xTicks.at(-1)!, yTicks.at(-1)!];
  const { width, height } = SIZE;
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  const xOf = (x: number) => round(MARGIN.left + (x / xMost) * (right - MARGIN.left));
  const yOf = (y: number) => round(bottom - (y / yMost) * (bottom - MARGIN.top));
  const at = (x: number) => Math.min(yMost, Math.max(0, line.intercept + line.slope * x));
  const middleX = (MARGIN.left + right) / 2;
  const middleY = (MARGIN.top + bottom) / 2;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(title)}">`,
    `<style>${STYLE}</style>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text class="title" x="${MARGIN.left}" y="28">${escaped(title)}</text>`,
    ...yTicks.flatMap((y) => [
      `<line class="grid" x1="${MARGIN.left}" x2="${right}" y1="${yOf(y)}" y2="${yOf(y)}"/>`,
      `<text x="${MARGIN.left - 8}" y="${yOf(y) + 4}" text-anchor="end">${y}</text>`,
    ]),
    ...xTicks.flatMap((x) => [
      `<line class="axis" x1="${xOf(x)}" x2="${xOf(x)}" y1="${bottom}" y2="${bottom + 5}"/>`,
      `<text x="${xOf(x)}" y="${bottom + 20}" text-anchor="middle">${x}</text>`,
    ]),
    `<line class="axis" x1="${MARGIN.left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>`,
    `<text x="${middleX}" y="${bottom + 42}" text-anchor="middle">${escaped(xTitle)}</text>`,
    `<text transform="translate(20 ${middleY}) rotate(-90)" text-anchor="middle">${escaped(yTitle)}</text>`,
    `<line class="line" x1="${xOf(0)}" y1="${yOf(at(0))}" x2="${xOf(xMost)}" y2="${yOf(at(xMost))}"/>`,
    ...points.flatMap(({ x, y, low, high }) => [
      `<path class="range" d="M${xOf(x)} ${yOf(low)}V${yOf(high)}m${-CAP} 0h${2 * CAP}M${xOf(x) - CAP} ${yOf(low)}h${2 * CAP}"/>`,
      `<circle class="point" cx="${xOf(x)}" cy="${yOf(y)}" r="4"/>`,
    ]),
    ...caption.map(
      (text, i) => `<text class="caption" x="${MARGIN.left}" y="${bottom + 68 + 16 * i}">${escaped(text)}</text>`,
    ),
    "</svg>",
  ].join("\n")}\n`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escaped(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}
