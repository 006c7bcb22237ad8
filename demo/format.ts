/** Numbers as people read them. */

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 1234 -> "1,234". */
export function count(value: number): string {
  return WHOLE.format(value);
}

/** "1 round", "2 rounds", "1 pass", "2 passes". */
export function counted(value: number, noun: string): string {
  const plural = noun.endsWith("s") ? `${noun}es` : `${noun}s`;
  return `${count(value)} ${value === 1 ? noun : plural}`;
}

/** 260032 -> "260K". */
export function compact(value: number): string {
  return COMPACT.format(value);
}

/** Bytes in decimal units: 1044992 -> "1.04 MB". */
export function bytes(value: number): string {
  const units = ["bytes", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, value)) / 3)));
  return `${significant(value / 1000 ** power)} ${units[power]}`;
}

/** 0.714 -> "71 %"; rounding never makes all or nothing of something less. */
export function percent(share: number): string {
  const rounded = Math.round(share * 100);
  if (rounded === 100 && share < 1) return "> 99 %";
  if (rounded === 0 && share > 0) return "< 1 %";
  return `${rounded} %`;
}

/** Two decimals below ten, one below a hundred, none above. */
export function significant(value: number): string {
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : count(value);
}

/** Milliseconds: "42 ms", "5.18 s". */
export function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${significant(ms / 1000)} s`;
}

/** Milliseconds, where parts of one count: "8.42 ms", "20 ms", "1.18 s". */
export function milliseconds(ms: number): string {
  return Number.isInteger(ms) || ms >= 1000 ? duration(ms) : `${significant(ms)} ms`;
}
