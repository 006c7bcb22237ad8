import { afterEach, expect, test, vi } from "vitest";
import { GpuUnavailableError, SourceError } from "../../src/errors.ts";
import { defaultGpu, defaultModel, openFolder } from "../../src/platform/browser.ts";

afterEach(() => vi.unstubAllGlobals());

test("a relative location is resolved against the page, in a worker against the script", () => {
  vi.stubGlobal("location", { href: "https://host/app/worker.js" });
  expect(openFolder("models/m").name).toBe("https://host/app/models/m/");
  vi.stubGlobal("document", { baseURI: "https://host/page/index.html" });
  expect(openFolder("../models/m/").name).toBe("https://host/models/m/");
  expect(openFolder(new URL("https://other/m")).name).toBe("https://other/m/");
});

test("a location that is no URL is a SourceError", () => {
  expect(() => openFolder("models/m")).toThrow(SourceError);
  expect(() => openFolder("http://")).toThrow(SourceError);
});

test("the package's own model lies beside the library's folder", () => {
  expect(new URL(defaultModel()).pathname).toMatch(/\/models\/stories260k-layerskip\/$/);
});

test("navigator.gpu is handed out; without it the error says which browser or which page has it", async () => {
  const gpu = {};
  vi.stubGlobal("navigator", { gpu });
  expect(await defaultGpu()).toBe(gpu);
  vi.stubGlobal("navigator", {});
  await expect(defaultGpu()).rejects.toThrow(GpuUnavailableError);
  await expect(defaultGpu()).rejects.toThrow(/Chrome or Edge 113\+/);
  vi.stubGlobal("isSecureContext", false);
  await expect(defaultGpu()).rejects.toThrow(/https or from localhost/);
});
