import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { GpuUnavailableError, SourceError } from "../../src/errors.ts";
import { defaultGpu, defaultModel, loadGpu, openFolder } from "../../src/platform/node.ts";
import { openCheckpoint } from "../../src/weights/checkpoint.ts";
import { STORIES } from "../weights/model_folder.ts";
import { honouringRanges, serve } from "../weights/model_server.ts";

test("the package's own model is found and whole", async () => {
  expect(defaultModel()).toBe(STORIES);
  const checkpoint = await openCheckpoint(openFolder(defaultModel()));
  expect(checkpoint.spec.layerSkip).toEqual({ exitLayer: 2, draftLength: 4 });
  await checkpoint.close();
});

test("a folder is named by path, by file URL or by http URL, as text or as URL", async () => {
  const { url } = await serve(STORIES, honouringRanges);
  const file = pathToFileURL(STORIES);
  for (const location of [STORIES, `${STORIES}/`, file, file.href, `${file.href}/`, url, new URL(url)]) {
    const source = await openFolder(location).open("config.json");
    expect(source?.size, String(location)).toBeGreaterThan(100);
    await source?.close();
  }
});

test("a location that is neither is a SourceError", () => {
  for (const location of ["ftp://host/model", "file://other-host/model", "http://", "/nowhere", ""]) {
    expect(() => openFolder(location), location).toThrow(SourceError);
  }
});

test("Dawn is made once a process, with its classes as globals", async () => {
  const gpu = await defaultGpu();
  expect(await defaultGpu()).toBe(gpu);
  expect(GPUBufferUsage.STORAGE).toBe(128);
  expect(gpu.requestAdapter).toBeTypeOf("function");
});

test("without the package webgpu the error says how to install it", async () => {
  const absent = () =>
    Promise.reject(
      Object.assign(new Error("Cannot find package 'webgpu' imported from /x/index.js"), {
        code: "ERR_MODULE_NOT_FOUND",
      }),
    );
  await expect(loadGpu(absent)).rejects.toThrow(GpuUnavailableError);
  await expect(loadGpu(absent)).rejects.toThrow(/npm install webgpu/);
});

test("a package webgpu whose library does not load: the error says why, not to install it", async () => {
  const broken = () => Promise.reject(new Error("libvulkan.so.1: cannot open shared object file"));
  await expect(loadGpu(broken)).rejects.toThrow(GpuUnavailableError);
  await expect(loadGpu(broken)).rejects.toThrow(/libvulkan/);
  await expect(loadGpu(broken)).rejects.not.toThrow(/npm install/);
});
