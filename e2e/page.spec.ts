/** The demo page, built, with the real engine on real WebGPU. */

import { expect, test } from "@playwright/test";
import { goldenCase } from "../test/golden.ts";
import {
  complaints,
  finished,
  generate,
  ids,
  openIdle,
  promptBox,
  rounds,
  slide,
  status,
  tokens,
} from "./page_story.ts";

/** A strict content security policy, such as the page's host may send. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:";

test("opens and streams a story at once, under a strict content security policy and without a word in the console", async ({
  page,
}) => {
  const heard = complaints(page);
  await page.route("./", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, headers: { ...response.headers(), "content-security-policy": POLICY } });
  });
  const answer = await page.goto("./");
  expect(answer?.headers()["content-security-policy"]).toBe(POLICY);
  await finished(page);

  const { greedy, text_out } = goldenCase("once");
  const shown = await tokens(page);
  expect(shown.map(({ id }) => id)).toEqual(greedy.slice(0, 200));
  const text = shown.map((token) => token.text).join("");
  expect(text_out.startsWith(text)).toBe(true);
  await expect(page.getByRole("log")).toHaveText(`Once upon a time${text}`, { useInnerText: true });
  for (const { origin } of shown) expect(["plain", "accepted", "correction", "bonus"]).toContain(origin);
  expect(heard).toEqual([]);
});

test("shows golden text and as many of each origin as its legend and its rounds say", async ({ page }) => {
  const { greedy, text_out } = goldenCase("once");
  await openIdle(page);
  await page.getByLabel("Max tokens").fill(String(greedy.length));
  await generate(page);

  const shown = await tokens(page);
  expect(shown.map(({ id }) => id)).toEqual(greedy);
  expect(shown.map(({ text }) => text).join("")).toBe(text_out);

  const counts = { accepted: 0, correction: 0, bonus: 0, plain: 0 };
  for (const { origin } of shown) counts[origin as keyof typeof counts]++;
  for (const [origin, count] of Object.entries(counts)) {
    await expect(page.locator(`#legend [data-origin=${origin}] b`)).toHaveText(String(count));
  }
  const played = await rounds(page);
  expect(counts.accepted).toBe(played.reduce((sum, { accepted }) => sum + accepted, 0));
  expect(counts.bonus).toBe(played.filter(({ drafted, accepted }) => drafted > 0 && accepted === drafted).length);
  expect(counts.correction).toBe(played.filter(({ drafted, accepted }) => accepted < drafted).length);
  // The prefill's token.
  expect(counts.plain).toBe(1 + played.filter(({ drafted }) => drafted === 0).length);
});

test("the sliders set exit layer and draft length, and whatever they say the ids are the golden ones", async ({
  page,
}) => {
  const { text, greedy, rounds: golden } = goldenCase("dialogue");
  await openIdle(page);
  await promptBox(page).fill(text);
  await slide(page, "Draft length", 4);
  for (const exitLayer of [1, 2, 3, 4]) {
    await slide(page, "Exit layer", exitLayer);
    await expect(page.locator("#exit-layer-value")).toHaveText(`${exitLayer} of 5`);
    await generate(page);
    expect(await ids(page), `exit layer ${exitLayer}`).toEqual(greedy);
    const accepted = golden[exitLayer]?.[4] ?? [];
    const played = (await rounds(page)).slice(0, accepted.length);
    expect(played, `exit layer ${exitLayer}`).toEqual(accepted.map((count) => ({ drafted: 4, accepted: count })));
  }
  for (const draftLength of [1, 15]) {
    await slide(page, "Draft length", draftLength);
    await generate(page);
    expect(await ids(page), `draft length ${draftLength}`).toEqual(greedy);
    expect((await rounds(page))[0]?.drafted).toBe(draftLength);
  }
});

test("the plain drafter drafts nothing and switches the sliders off", async ({ page }) => {
  await openIdle(page);
  await page.getByRole("radio", { name: "Plain" }).check();
  await expect(page.getByRole("slider", { name: "Exit layer" })).toBeDisabled();
  await expect(page.getByRole("slider", { name: "Draft length" })).toBeDisabled();
  await page.getByLabel("Max tokens").fill("24");
  await generate(page);
  const shown = await tokens(page);
  expect(shown.map(({ id }) => id)).toEqual(goldenCase("once").greedy.slice(0, 24));
  expect(new Set(shown.map(({ origin }) => origin))).toEqual(new Set(["plain"]));
  expect(await rounds(page)).toEqual(Array(23).fill({ drafted: 0, accepted: 0 }));
});

test("a comparison finds the same ids and says what came of it", async ({ page }) => {
  await openIdle(page);
  await page.getByLabel("Max tokens").fill("60");
  await page.getByRole("button", { name: "Compare" }).click();
  await expect(status(page)).toHaveText(/^The comparison is done/);

  const table = page.getByRole("table");
  await expect(table).toHaveAttribute("data-identical", "true");
  await expect(table).toContainText("✓ identical, all 60 tokens");
  const cells = (name: string) => table.getByRole("row", { name }).getByRole("cell").allTextContents();
  const played = await rounds(page);
  expect(await cells("Rounds")).toEqual(["59", String(played.length), expect.stringMatching(/^0\.\d\d×$/)]);
  // One submission a round.
  expect((await cells("Submissions")).slice(0, 2)).toEqual(["59", String(played.length)]);
  expect((await cells("Tokens a round"))[0]).toBe("1.00");
  for (const name of ["Tokens a second", "Dispatches a token"]) {
    for (const cell of await cells(name)) expect(Number.parseFloat(cell)).toBeGreaterThan(0);
  }
  expect((await cells("Drafts accepted"))[1]).toMatch(/^\d+ %$/);
  await expect(page.locator("#verdict")).toContainText(/^The same text/);
});

test("Stop ends a run between rounds and keeps what there is", async ({ page }) => {
  await openIdle(page);
  await page.getByRole("radio", { name: "Plain" }).check();
  await page.getByLabel("Max tokens").fill("500");
  // Pressed from inside, with the first token: a fast GPU is done before a test could reach the button.
  await page.evaluate(() => {
    const story = document.getElementById("story");
    const observer = new MutationObserver(() => {
      if (!story?.querySelector("[data-id]")) return;
      observer.disconnect();
      document.getElementById("stop")?.click();
    });
    if (story) observer.observe(story, { childList: true });
  });
  await page.getByRole("button", { name: "Generate" }).click();
  await expect(status(page)).toHaveText(/^Stopped after \d+ token/);
  const shown = await ids(page);
  expect(shown.length).toBeLessThan(200);
  expect(shown).toEqual(goldenCase("once").greedy.slice(0, shown.length));

  // And the model is free for the next run.
  await page.getByLabel("Max tokens").fill("8");
  await generate(page);
  expect(await ids(page)).toHaveLength(8);
});

test("the keyboard is enough: Ctrl+Enter generates, Escape stops, arrows go through the rounds", async ({ page }) => {
  await openIdle(page);
  await page.keyboard.press("Tab");
  await expect(promptBox(page)).toBeFocused();
  await page.keyboard.press("Control+Enter");
  await page.locator("#story [data-id]").first().waitFor();
  await page.keyboard.press("Escape");
  await expect(status(page)).toHaveText(/^(Stopped|Done)/);

  await page.getByLabel("Max tokens").fill("40");
  await promptBox(page).press("Control+Enter");
  await finished(page);
  await page.keyboard.press("Tab");
  const button = page.getByRole("button", { name: "Generate" });
  await expect(button).toBeFocused();
  await page.keyboard.press("Enter");
  await finished(page);
  // The button that was pressed keeps the focus.
  await expect(button).toBeFocused();

  const strip = page.getByRole("list", { name: "Rounds in order" });
  await strip.getByRole("button").first().focus();
  await page.keyboard.press("ArrowRight");
  const second = strip.getByRole("button").nth(1);
  await expect(second).toBeFocused();
  await expect(second).toHaveAccessibleName(
    /^Round 2: drafted “.+”; \d of 4 accepted, then a (correction|bonus) “.+”$/,
  );
  await expect(page.locator("#detail")).toContainText("Round 2");
  await expect(page.locator("#story .token--pointed").first()).toBeVisible();
  await page.keyboard.press("End");
  await expect(strip.getByRole("button").last()).toBeFocused();
  expect(await strip.locator('[tabindex="0"]').count()).toBe(1);
});

test("a screen reader hears when a run starts and ends, not every token", async ({ page }) => {
  await openIdle(page);
  const said = page.evaluate(
    () =>
      new Promise<string[]>((resolve) => {
        const found: string[] = [];
        const line = document.getElementById("status");
        if (!line) return resolve(found);
        new MutationObserver(() => {
          const text = line.textContent ?? "";
          found.push(text);
          if (text.startsWith("Done")) resolve(found);
        }).observe(line, { childList: true });
      }),
  );
  await generate(page);
  expect(await said).toEqual(["Writing…", expect.stringMatching(/^Done: 200 tokens in \d+ rounds/)]);
  await expect(page.getByRole("log")).toHaveAttribute("aria-live", "off");
});

test("a prompt that fills the context is refused in words, and the page goes on", async ({ page }) => {
  await openIdle(page);
  await promptBox(page).fill("once upon a time ".repeat(150));
  await page.getByRole("button", { name: "Generate" }).click();
  const alert = page.getByRole("alert");
  await expect(alert).toContainText("shorten the prompt");
  await expect(alert.getByRole("button")).toBeHidden();
  await promptBox(page).fill("");
  await page.getByLabel("Max tokens").fill("20");
  await generate(page);
  await expect(alert).toBeHidden();
  expect(await ids(page)).toEqual(goldenCase("one-token").greedy.slice(0, 20));
});

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

test("a lost device is named, and the model can be loaded again", async ({ page }) => {
  await page.addInitScript(() => {
    const { requestDevice } = GPUAdapter.prototype;
    GPUAdapter.prototype.requestDevice = async function (descriptor) {
      const device = await requestDevice.call(this, descriptor);
      addEventListener("lose-device", () => device.destroy(), { once: true });
      return device;
    };
  });
  await openIdle(page);
  await page.evaluate(() => dispatchEvent(new Event("lose-device")));
  await page.getByRole("button", { name: "Generate" }).click();
  const alert = page.getByRole("alert");
  await expect(alert).toContainText("The GPU device was lost");
  await expect(page.getByRole("button", { name: "Generate" })).toBeDisabled();
  await alert.getByRole("button", { name: "Load the model again" }).click();
  await expect(status(page)).toHaveText("Ready.");
  await page.getByLabel("Max tokens").fill("20");
  await generate(page);
  expect(await ids(page)).toEqual(goldenCase("once").greedy.slice(0, 20));
});

test("fits a desktop and a phone of 360 pixels, light and dark", async ({ page }, testInfo) => {
  await page.goto("./");
  await finished(page);
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    for (const width of [1280, 360]) {
      await page.setViewportSize({ width, height: 800 });
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      await page.screenshot({ path: `test-results/page-${colorScheme}-${width}.png`, fullPage: true });
    }
    const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    testInfo.annotations.push({ type: colorScheme, description: ground });
  }
  const [light, dark] = testInfo.annotations.map(({ description }) => description);
  expect(light).not.toBe(dark);
});
