/** Sizes in bytes for people. */

/** Exact below one KiB. */
export function bytes(value: number): string {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let unit = 0;
  let scaled = value;
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit++;
  }
  return `${Number(scaled.toFixed(unit ? 1 : 0)).toLocaleString("en-US")} ${units[unit]}`;
}
