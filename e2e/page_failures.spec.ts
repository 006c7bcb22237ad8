/** The demo page where something fails: no WebGPU, no model, a device that is lost. */

import { expect, test } from "@playwright/test";
import { goldenCase } from "../test/golden.ts";
import { complaints, finished, generate, ids, openIdle, promptBox, status } from "./page_story.ts";

test("without WebGPU it says so and what to do", async ({ page }) => {
  const heard = complaints(page);
  await page.addInitScript(() => Object.defineProperty(Navigator.prototype, "gpu", { get: () => undefined }));
  await page.goto("./");
  const alert = page.getByRole("alert");
  await expect(alert.getByRole("heading")).toHaveText("No WebGPU here, so the model cannot run");
  await expect(alert).toContainText("Chrome or Edge");
  for (const name of ["Generate", "Stop", "Compare"]) {
    await expect(page.getByRole("button", { name })).toBeDisabled();
  }
  await expect(promptBox(page)).toBeDisabled();
  expect(heard).toEqual([]);
});

test("without an adapter it says so too", async ({ page }) => {
  await page.addInitScript(() => {
    Object.defineProperty(navigator.gpu, "requestAdapter", { value: async () => null });
  });
  await page.goto("./");
  await expect(page.getByRole("alert")).toContainText("No WebGPU here");
});

test("a model that cannot be loaded is named, and can be tried again", async ({ page }) => {
  await page.route("**/model.safetensors", (route) => route.fulfill({ status: 404 }));
  await page.goto("./?autorun=0");
  const alert = page.getByRole("alert");
  await expect(alert).toContainText("model.safetensors");
  await expect(page.getByRole("button", { name: "Generate" })).toBeDisabled();
  await page.unroute("**/model.safetensors");
  await alert.getByRole("button", { name: "Load the model again" }).click();
  await expect(status(page)).toHaveText("Ready.");
  await expect(alert).toBeHidden();
});

test("a device that is lost while it writes: the model is loaded again, and the story goes on as it would have", async ({
  page,
}) => {
  await page.addInitScript(() => {
    const { requestDevice } = GPUAdapter.prototype;
    const { requestAdapter } = GPU.prototype;
    let isThere = true;
    addEventListener("no-adapter", () => {
      isThere = false;
    });
    addEventListener("adapter", () => {
      isThere = true;
    });
    GPU.prototype.requestAdapter = async function (options) {
      return isThere ? requestAdapter.call(this, options) : null;
    };
    GPUAdapter.prototype.requestDevice = async function (descriptor) {
      const device = await requestDevice.call(this, descriptor);
      addEventListener("lose-device", () => device.destroy(), { once: true });
      return device;
    };
  });
  const tell = (event: string) => page.evaluate((name) => dispatchEvent(new Event(name)), event);
  const { greedy } = goldenCase("once");
  await openIdle(page);
  await page.getByLabel("Max tokens").fill("200");
  await page.getByRole("button", { name: "Generate" }).click();
  await expect.poll(async () => (await ids(page)).length).toBeGreaterThan(20);
  await tell("lose-device");
  await expect(status(page)).toHaveText("The GPU was lost. Loading the model again…");
  await expect(page.getByRole("progressbar")).toBeVisible();
  await finished(page);
  await expect(page.getByRole("progressbar")).toBeHidden();
  expect(await ids(page)).toEqual(greedy.slice(0, 200));

  // Where there is none for a while, the page says so, and the model is there as soon as it is asked for again.
  await tell("no-adapter");
  await tell("lose-device");
  await page.getByRole("button", { name: "Generate" }).click();
  await expect(page.getByRole("alert")).toContainText("No WebGPU here");
  await expect(page.getByRole("progressbar")).toBeHidden();
  await tell("adapter");
  await generate(page);
  await expect(page.getByRole("alert")).toBeHidden();
  expect(await ids(page)).toEqual(greedy.slice(0, 200));
});
