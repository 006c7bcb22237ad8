/** The page fits an exit adapter to its model and drafts with it. */

import { readFileSync } from "node:fs";
import { expect, test } from "@playwright/test";
import { goldenCase } from "../test/golden.ts";
import { choose, generate, ids, openIdle, rounds, slide, status } from "./page_story.ts";

test("Exit adapter fits one first, shows what it does for each exit, drafts with it and saves it", async ({ page }) => {
  const greedy = goldenCase("once").greedy.slice(0, 100);
  await openIdle(page);
  await choose(page, "Exit adapter");
  await expect(page.locator("#adapter-words")).toContainText("None yet");
  await expect(page.getByRole("slider", { name: "Exit layer" })).toBeHidden();
  await page.getByLabel("Max tokens").fill("100");
  await slide(page, "Draft length", 3);
  await generate(page);
  expect(await ids(page)).toEqual(greedy);

  const words = page.locator("#adapter-words");
  await expect(words).toContainText(/Fitted on [\d,]+ tokens in .+ s/);
  const table = page.locator("#adapter-table");
  await expect(table.getByRole("row")).toHaveCount(1 + 3);
  await expect(table.locator(".prices__chosen")).toHaveCount(1);
  const cells = await table.getByRole("cell").allTextContents();
  const shares = cells.filter((cell) => cell.endsWith("%")).map((cell) => Number.parseInt(cell, 10));
  expect(shares).toHaveLength(6);
  // A map is not much worse than the exit by itself, and later exits agree more often.
  for (let exit = 0; exit < 3; exit++) expect(shares[2 * exit + 1]!).toBeGreaterThan(shares[2 * exit]! - 10);
  expect(shares[4]!).toBeGreaterThan(shares[0]!);

  const played = await rounds(page);
  expect(Math.max(...played.map(({ drafted }) => drafted))).toBe(3);
  expect(played.reduce((sum, { accepted }) => sum + accepted, 0)).toBeGreaterThan(20);
  await page.locator("#timeline [data-round='2']").focus();
  await expect(page.getByRole("heading", { name: /Round 2: 3 tokens from layer \d and its adapter/ })).toBeVisible();

  const [download] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("button", { name: "Save" }).click(),
  ]);
  expect(download.suggestedFilename()).toBe("exit-adapter.safetensors");
  const file = readFileSync(await download.path());
  expect(file.toString("latin1", 8, 300)).toContain("layerleap-exit-adapter");

  // Auto weighs it from now on.
  await choose(page, "Auto");
  await generate(page);
  expect(await ids(page)).toEqual(greedy);
});

test("Stop ends the fitting, and the page goes on without an adapter", async ({ page }) => {
  await openIdle(page);
  await choose(page, "Exit adapter");
  await page.getByRole("button", { name: "Fit one" }).click();
  await expect(page.locator("#adapter-progress")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(status(page)).toHaveText("The fitting was stopped.");
  await expect(page.locator("#adapter-words")).toContainText("None yet");
  await choose(page, "LayerSkip");
  await generate(page);
  expect((await ids(page)).slice(0, 50)).toEqual(goldenCase("once").greedy.slice(0, 50));
});
