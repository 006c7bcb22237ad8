/** The software adapter's folder is whole for everyone: under a race, after a cleaner, beside somebody else's. */

import { type ChildProcess, execFile, fork } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, readdir, readFile, rm, stat, unlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "vite";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { hasVulkanDriver, type SoftwareAdapter, softwareAdapter } from "../../src/platform/software_adapter.ts";

const available = (await softwareAdapter()) !== undefined;

describe.skipIf(!available)("softwareAdapter", () => {
  let folder: string;
  let script: string;
  let TMPDIR: string;

  /** The module as a process of its own: what it unpacks, and where, is a matter of its process. */
  beforeAll(async () => {
    // Inside the checkout, where the package is found.
    folder = await mkdtemp(join(import.meta.dirname, "../../node_modules/.layerleap-test-"));
    script = join(folder, "adapter.mjs");
    await build({
      configFile: false,
      logLevel: "silent",
      build: {
        ssr: join(import.meta.dirname, "../../src/platform/software_adapter.ts"),
        outDir: folder,
        rolldownOptions: { output: { entryFileNames: "module.mjs" } },
      },
    });
    await writeFile(
      script,
      `import { softwareAdapter } from "./module.mjs";
       const before = JSON.stringify(process.env);
       const adapter = await softwareAdapter().catch((error) => ({ error: error.message }));
       process.send({ adapter, kept: before === JSON.stringify(process.env) }, () => process.disconnect());`,
    );
  });

  afterAll(() => rm(folder, { recursive: true, force: true }));

  beforeEach(async () => {
    TMPDIR = await mkdtemp(join(tmpdir(), "layerleap-test-"));
    return () => rm(TMPDIR, { recursive: true, force: true });
  });

  function prepare(): Promise<{ adapter: SoftwareAdapter & { error?: string }; kept: boolean }> {
    const child: ChildProcess = fork(script, { env: { ...process.env, TMPDIR }, execArgv: [] });
    return new Promise((resolve, reject) => {
      child.once("message", resolve);
      child.once("exit", (code) => reject(new Error(`exit ${code} without an answer`)));
    });
  }

  test("unpacks once for processes that start together, and leaves nothing else behind", async () => {
    const [first, second] = await Promise.all([prepare(), prepare()]);
    expect(first.adapter).toEqual(second.adapter);
    expect(first.adapter.directory.startsWith(join(TMPDIR, "layerleap-"))).toBe(true);
    expect(await readdir(TMPDIR)).toHaveLength(1);
    const files = ["chromium", "libvk_swiftshader.so", "libvulkan.so.1", "al2023/lib/libnss3.so", "fonts/fonts.conf"];
    for (const file of files) expect(existsSync(join(first.adapter.directory, file)), file).toBe(true);
    const { stdout } = await promisify(execFile)(first.adapter.chromium, ["--version"], {
      env: { ...process.env, ...first.adapter.chromiumEnv },
    });
    expect(stdout).toMatch(/^Chromium \d+/);
  });

  test("leaves the environment as it was", async () => {
    expect((await prepare()).kept).toBe(true);
  });

  test("takes the folder that is there, and unpacks again what a cleaner has taken", async () => {
    const { directory } = (await prepare()).adapter;
    const { ino } = await stat(directory);
    await prepare();
    expect((await stat(directory)).ino).toBe(ino);

    await unlink(join(directory, "libvk_swiftshader.so"));
    await prepare();
    expect((await stat(directory)).ino).not.toBe(ino);
    expect(existsSync(join(directory, "libvk_swiftshader.so"))).toBe(true);
    expect(await readdir(TMPDIR)).toHaveLength(1);
  });

  test("refuses a folder that others may write to", async () => {
    const { directory } = (await prepare()).adapter;
    await chmod(directory, 0o777);
    expect((await prepare()).adapter.error).toMatch(/not a private folder/);
  });

  test("the driver's manifest names a library that lies beside it", async () => {
    const { dawnEnv, directory } = (await prepare()).adapter;
    const manifest = JSON.parse(await readFile(dawnEnv.VK_DRIVER_FILES!, "utf8"));
    expect(existsSync(join(directory, manifest.ICD.library_path))).toBe(true);
  });
});

test("a driver that the environment names counts", () => {
  // vitest.config.ts has named SwiftShader where there was no driver.
  expect(hasVulkanDriver()).toBe(true);
});
