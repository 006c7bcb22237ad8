import { expect, test } from "vitest";
import { strftime } from "../../src/text/strftime.ts";

test.each([
  [new Date(2024, 6, 26, 9, 5, 3), "%d %b %Y", "26 Jul 2024"],
  [new Date(2024, 6, 6, 9, 5, 3), "%A, %B %-d, %y %e|%I:%M:%S %p", "Saturday, July 6, 24  6|09:05:03 AM"],
  [new Date(2024, 11, 31, 0, 0, 0), "%a %w %u %j %H %I %-I %p", "Tue 2 2 366 00 12 12 AM"],
  [
    new Date(2023, 0, 1, 13, 30, 0, 7),
    "%F %T %R %D %h %u %w %f %-m %-H",
    "2023-01-01 13:30:00 13:30 01/01/23 Jan 7 0 007000 1 13",
  ],
  [new Date(2023, 0, 1), "100%% %Q %", "100% %Q %"],
])("%s as %s", (date, format, text) => {
  expect(strftime(date, format)).toBe(text);
});
