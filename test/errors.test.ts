/** Errors name themselves, in a minified bundle too. */

import { expect, test } from "vitest";
import * as errors from "../src/errors.ts";

test("every error class has a literal name and a code of its own", () => {
  const finding = { file: "f", field: "x", found: "1", expected: "2" };
  const made = [
    new errors.FileFormatError(finding),
    new errors.UnsupportedModelError(finding),
    new errors.InputError(finding),
    new errors.SourceError("f", "is gone"),
    new errors.IntegrityError("f", "00", "ff"),
    new errors.CacheFullError("f", 2, 1),
    new errors.ContextLengthError(5, 4),
    new errors.GpuUnavailableError("none"),
    new errors.GpuError("kernel", "broke"),
    new errors.GpuMemoryError("model", 1, "too little"),
    new errors.DeviceLostError("reset"),
    new errors.NonFiniteLogitsError(),
    new errors.BusyError(),
    new errors.DisposedError(),
    new errors.WorkerLostError(),
  ];
  const classes = Object.keys(errors).filter((name) => name !== "LayerLeapError");
  expect(made.map((error) => error.name).sort()).toEqual(classes.sort());
  expect(new Set(made.map((error) => error.code)).size).toBe(made.length);
  for (const error of made) {
    expect(error).toBeInstanceOf(errors.LayerLeapError);
    // A minifier may rename the class; an own property stays.
    expect(Object.hasOwn(error, "name")).toBe(true);
  }
});
