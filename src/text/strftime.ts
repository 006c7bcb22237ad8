/** Python's `strftime` in its C locale: dates in chat templates are in English, whatever the machine speaks. */

const MONTHS = "January February March April May June July August September October November December".split(" ");
const DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split(" ");

/** `date`, in local time, as `format` says. Codes that are not known stay as they are. */
export function strftime(date: Date, format: string): string {
  const padded = (value: number, width = 2) => String(value).padStart(width, "0");
  const hour12 = date.getHours() % 12 || 12;
  const month = MONTHS[date.getMonth()]!;
  const day = DAYS[date.getDay()]!;
  const codes: Record<string, () => string> = {
    Y: () => padded(date.getFullYear(), 4),
    y: () => padded(date.getFullYear() % 100),
    m: () => padded(date.getMonth() + 1),
    B: () => month,
    b: () => month.slice(0, 3),
    h: () => month.slice(0, 3),
    d: () => padded(date.getDate()),
    e: () => String(date.getDate()).padStart(2, " "),
    j: () => padded(dayOfYear(date), 3),
    A: () => day,
    a: () => day.slice(0, 3),
    w: () => String(date.getDay()),
    u: () => String(date.getDay() || 7),
    H: () => padded(date.getHours()),
    I: () => padded(hour12),
    p: () => (date.getHours() < 12 ? "AM" : "PM"),
    M: () => padded(date.getMinutes()),
    S: () => padded(date.getSeconds()),
    f: () => padded(date.getMilliseconds() * 1000, 6),
    F: () => strftime(date, "%Y-%m-%d"),
    T: () => strftime(date, "%H:%M:%S"),
    R: () => strftime(date, "%H:%M"),
    D: () => strftime(date, "%m/%d/%y"),
    "-d": () => String(date.getDate()),
    "-m": () => String(date.getMonth() + 1),
    "-H": () => String(date.getHours()),
    "-I": () => String(hour12),
    "%": () => "%",
  };
  return format.replace(/%(-?[A-Za-z]|%)/g, (whole, code: string) => codes[code]?.() ?? whole);
}

function dayOfYear(date: Date): number {
  const days = Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1);
  return days / 86_400_000 + 1;
}
