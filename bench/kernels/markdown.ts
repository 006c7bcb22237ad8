/** Pieces of the reports, in the shape docs/benchmarks.md keeps. */

import type { DeviceInfo } from "../../src/gpu/device_info.ts";
import type { Spread } from "./statistics.ts";

/** A column of a table: its title and how it is aligned. */
export interface Column {
  title: string;
  align: "left" | "right";
}

/** Columns by their titles; those that end with a colon are aligned to the right. */
export function columns(...titles: string[]): Column[] {
  return titles.map((title) =>
    title.endsWith(":") ? { title: title.slice(0, -1), align: "right" } : { title, align: "left" },
  );
}

/** The lines of a table. */
export function table(heads: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const lines = [
    heads.map(({ title }) => title),
    heads.map(({ align }) => (align === "right" ? "---:" : "---")),
    ...rows,
  ];
  return lines.map((cells) => `| ${cells.join(" | ")} |`);
}

export function deviceLine({ vendor, architecture, description, backend, software }: DeviceInfo): string {
  return `Device: ${vendor} ${architecture} (${description}), ${backend}${software ? ", a software adapter" : ""}`;
}

/** Three significant digits, without an exponent. */
export function digits(value: number): string {
  if (value === 0) return "0";
  const decimals = Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toFixed(decimals);
}

/** `12 %`, with a decimal where it is below 10. */
export function percent(fraction: number): string {
  return `${percents(fraction)} %`;
}

function percents(fraction: number): string {
  return (100 * fraction).toFixed(Math.abs(fraction) < 0.0995 ? 1 : 0);
}

/** `11-13`, in percent. */
export function percentRange({ range }: Spread): string {
  return range.map(percents).join("-");
}

export function ratioRange({ range }: Spread): string {
  return range.map((ratio) => ratio.toFixed(2)).join("-");
}
