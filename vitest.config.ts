/**
 * Unit and GPU tests in Node, on Dawn.
 *
 * Where the machine has no GPU driver they run on SwiftShader. Its environment has to be there when a process starts, so
 * it is set here, before Vitest forks its workers.
 */

import { join } from "node:path";
import { defineConfig, type ViteUserConfig } from "vitest/config";
import { hasVulkanDriver, softwareAdapter, softwareAdapterForced } from "./src/platform/software_adapter.ts";

export default defineConfig(async ({ mode }): Promise<ViteUserConfig> => {
  // `npm run test:slow`: the full matrices of shapes, formats and variants instead of a selection.
  if (mode === "slow") process.env.LAYERLEAP_SLOW = "1";
  if (softwareAdapterForced() || !hasVulkanDriver()) {
    const adapter = await softwareAdapter();
    if (!adapter)
      throw new Error("no GPU driver, and no SwiftShader: npm install @sparticuz/chromium (Linux on x64 only)");
    Object.assign(process.env, adapter.dawnEnv);
  }
  return {
    test: {
      include: ["test/**/*.test.ts"],
      environment: "node",
      // Downloads of tests are not the user's.
      env: { LAYERLEAP_CACHE: join(import.meta.dirname, "test-results/cache") },
      // A process a file: a driver that crashes takes one file down, and no device outlives its tests.
      pool: "forks",
      // SwiftShader computes on all cores already, and several processes of it hold each other up: 11 minutes with one
      // worker, 18 with two.
      maxWorkers: 1,
      testTimeout: mode === "slow" ? 3_600_000 : 120_000,
      hookTimeout: 120_000,
      reporters: process.env.CI ? ["default", ["json", { outputFile: "test-results/vitest.json" }]] : ["default"],
    },
  };
});
