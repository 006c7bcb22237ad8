/**
 * Unit and GPU tests in Node, on Dawn.
 *
 * Where the machine has no GPU driver they run on SwiftShader. Its environment has to be there when a process starts, so
 * it is set here, before Vitest forks its workers.
 */

import { join } from "node:path";
import { defineConfig, type TestProjectInlineConfiguration, type ViteUserConfig } from "vitest/config";
import { hasVulkanDriver, softwareAdapter, softwareAdapterForced } from "./src/platform/software_adapter.ts";

/** Tests that mostly run small models. */
const DECODING = ["test/decode/**", "test/session/**", "test/forward/**", "test/worker/**"].map(
  (folder) => `${folder}/*.test.ts`,
);
/** Tests that start processes, most of whose time is starting and compiling. */
const COMMANDS = ["test/cli/**/*.test.ts"];

type ProjectTest = NonNullable<TestProjectInlineConfiguration["test"]>;

function project(name: string, test: ProjectTest): TestProjectInlineConfiguration {
  return { extends: true, test: { name, ...test } };
}

export default defineConfig(async ({ mode }): Promise<ViteUserConfig> => {
  // `npm run test:slow`: the full matrices of shapes, formats and variants instead of a selection.
  // The projects read this file again, in another mode: what they go by is the environment.
  if (mode === "slow") process.env.LAYERLEAP_SLOW = "1";
  const slow = process.env.LAYERLEAP_SLOW === "1";
  if (softwareAdapterForced() || !hasVulkanDriver()) {
    const adapter = await softwareAdapter();
    if (!adapter)
      throw new Error("no GPU driver, and no SwiftShader: npm install @sparticuz/chromium (Linux on x64 only)");
    Object.assign(process.env, adapter.dawnEnv);
  }
  return {
    test: {
      environment: "node",
      // Downloads of tests are not the user's.
      env: { LAYERLEAP_CACHE: join(import.meta.dirname, "test-results/cache") },
      // A process a file: a driver that crashes takes one file down, and no device outlives its tests.
      pool: "forks",
      testTimeout: slow ? 3_600_000 : 120_000,
      hookTimeout: 120_000,
      reporters: process.env.CI ? ["default", ["json", { outputFile: "test-results/vitest.json" }]] : ["default"],
      // SwiftShader computes on all cores. Two processes that mostly compile shaders share them well; two that mostly
      // run short dispatches hold each other up, up to ten times as long.
      projects: [
        project("kernels and files", {
          include: ["test/**/*.test.ts"],
          exclude: [...DECODING, ...COMMANDS],
          maxWorkers: 2,
        }),
        project("decoding", { include: DECODING, maxWorkers: 1, sequence: { groupOrder: 1 } }),
        project("command line", { include: COMMANDS, maxWorkers: 2, sequence: { groupOrder: 2 } }),
      ],
    },
  };
});
