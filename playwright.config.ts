/** Tests of the built page in headless Chromium. */

import { defineConfig } from "@playwright/test";
import { browserLaunch } from "./e2e/browser.ts";
import { freePort } from "./e2e/free_port.ts";

// Any free port, so that two checkouts can be tested at once. Playwright reads this file again in its workers, which
// inherit the environment: they have to find the port that was taken first.
process.env.LAYERLEAP_E2E_PORT ??= String(await freePort());
const PORT = process.env.LAYERLEAP_E2E_PORT;
const ADDRESS = `http://127.0.0.1:${PORT}/`;

export default defineConfig({
  testDir: "e2e",
  outputDir: "test-results/playwright",
  // SwiftShader computes on all cores already.
  workers: 1,
  timeout: 180_000,
  expect: { timeout: 60_000 },
  forbidOnly: Boolean(process.env.CI),
  reporter: process.env.CI ? [["list"], ["json", { outputFile: "test-results/playwright.json" }]] : [["list"]],
  use: {
    baseURL: ADDRESS,
    headless: true,
    launchOptions: await browserLaunch(),
    trace: "retain-on-failure",
  },
  webServer: {
    command: `npx vite preview --host 127.0.0.1 --port ${PORT} --strictPort`,
    url: ADDRESS,
    reuseExistingServer: false,
    stdout: "ignore",
  },
});
