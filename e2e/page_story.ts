/** The demo page as its tests use it: its controls, the tokens it shows, and what they have to be. */

import { expect, type Locator, type Page } from "@playwright/test";

export interface ShownToken {
  id: number;
  origin: string;
  text: string;
}

export interface ShownRound {
  drafted: number;
  accepted: number;
}

/** Collects what the console says beside information, and errors nobody caught. */
export function complaints(page: Page): string[] {
  const found: string[] = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) found.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => found.push(`uncaught: ${error.message}`));
  return found;
}

/** Opens the page with the model loaded and nothing running. */
export async function openIdle(page: Page): Promise<void> {
  await page.goto("./?autorun=0");
  await expect(status(page)).toHaveText("Ready.");
}

export function status(page: Page): Locator {
  return page.getByRole("status");
}

export function promptBox(page: Page): Locator {
  return page.getByRole("textbox", { name: "Prompt" });
}

/** Waits for the end of a run that was started. */
export async function finished(page: Page): Promise<void> {
  await expect(status(page)).toHaveText(/^Done/);
}

export async function generate(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Generate" }).click();
  await finished(page);
}

export type Drafter = "Auto" | "LayerSkip" | "Exit adapter" | "Ouroboros" | "Lookup" | "Recycling" | "Plain";

/** Chooses who drafts. */
export async function choose(page: Page, drafter: Drafter): Promise<void> {
  await page.getByRole("radio", { name: drafter }).check();
}

/** Moves a slider as a person with a keyboard does. */
export async function slide(page: Page, name: string, value: number): Promise<void> {
  const slider = page.getByRole("slider", { name });
  await slider.focus();
  await page.keyboard.press("Home");
  for (let at = 1; at < value; at++) await page.keyboard.press("ArrowRight");
  await expect(slider).toHaveValue(String(value));
}

export function tokens(page: Page): Promise<ShownToken[]> {
  return page.locator("#story [data-id]").evaluateAll((spans) =>
    spans.map((span) => ({
      id: Number(span.getAttribute("data-id")),
      origin: span.getAttribute("data-origin") ?? "",
      text: span.textContent ?? "",
    })),
  );
}

export async function ids(page: Page): Promise<number[]> {
  return (await tokens(page)).map(({ id }) => id);
}

/** The drafts of the round that is spelled out, if they are a tree: each with the one that it stands under in the list. */
export function treeDrafts(page: Page) {
  return page.locator("#detail [data-draft]").evaluateAll((items) =>
    items.map((item) => ({
      draft: Number(item.getAttribute("data-draft")),
      parent: Number(item.getAttribute("data-parent")),
      under: Number(item.parentElement?.closest("[data-draft]")?.getAttribute("data-draft") ?? -1),
      accepted: item.classList.contains("branch--accepted"),
      text: item.querySelector(".chip")?.textContent ?? "",
    })),
  );
}

export function rounds(page: Page): Promise<ShownRound[]> {
  return page.locator("#timeline [data-round]").evaluateAll((buttons) =>
    buttons.map((button) => ({
      drafted: Number(button.getAttribute("data-drafted")),
      accepted: Number(button.getAttribute("data-accepted")),
    })),
  );
}
