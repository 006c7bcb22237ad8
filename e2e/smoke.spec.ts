/** The browser itself: the page that is served reaches a WebGPU device. */

import { expect, test } from "@playwright/test";

test("the browser has a WebGPU adapter that gives a device", async ({ page }) => {
  await page.goto("./");
  const adapter = await page.evaluate(async () => {
    const found = await navigator.gpu?.requestAdapter();
    const device = await found?.requestDevice();
    device?.destroy();
    return { vendor: found?.info.vendor, device: Boolean(device) };
  });
  expect(adapter.device).toBe(true);
  expect(adapter.vendor).not.toBe("");
});
