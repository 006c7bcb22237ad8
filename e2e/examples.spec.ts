/** The examples, as a static host over the repository serves them. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "@playwright/test";
import { goldenCase } from "../test/golden.ts";
import { type LibrarySite, serveFiles } from "./library_site.ts";
import { complaints } from "./page_story.ts";

const ROOT = join(import.meta.dirname, "..");
const STORIES = "models/stories260k-layerskip";
/** A template for a model that has none: what is said is a story. */
const TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message.content }} {% endfor %}";

/** A plain host cannot tell which files there are: one that a model may have is asked for, and the console tells of the answer. */
const isNoProbe = (line: string) => !line.endsWith("status of 404 (Not Found)");

let site: LibrarySite;
test.beforeAll(async () => {
  site = await serveFiles(async (path) => {
    if (path === "/favicon.ico") return "";
    if (path === "/chatty/chat_template.jinja") return TEMPLATE;
    const file = path.replace(/^\/chatty\//, `/${STORIES}/`);
    if (!/^\/(examples|dist\/browser|models)\//.test(file)) return undefined;
    return readFile(join(ROOT, file));
  });
});
test.afterAll(() => site.close());

test("one file tells a story", async ({ page }) => {
  const heard = complaints(page);
  await page.goto(`${site.url}examples/one_file.html`);
  await expect(page.getByRole("status")).toHaveText(
    /^200 tokens in \d+ submissions; [1-9]\d* were drafted and accepted\.$/,
  );
  const { text, text_out } = goldenCase("once");
  const told = (await page.locator("#story").textContent()) ?? "";
  expect(told.length).toBeGreaterThan(300);
  expect(`${text}${text_out}`.startsWith(told)).toBe(true);
  expect(await page.locator("#story .accepted").count()).toBeGreaterThan(20);
  expect(heard.filter(isNoProbe)).toEqual([]);
});

test("a chat answers, goes on, and can be stopped", async ({ page }) => {
  const heard = complaints(page);
  await page.goto(`${site.url}examples/chat.html?model=../chatty/`);
  const status = page.getByRole("status");
  await expect(status).toHaveText("Ready.");
  const message = page.getByRole("textbox", { name: "Message" });
  for (const [turn, text] of ["Once upon a time, there was a dog.", "Then the cat came."].entries()) {
    await message.fill(text);
    await message.press("Enter");
    await expect(status).toHaveText(
      turn === 0 ? /^\d+ tokens, 0 of \d+ before/ : /^\d+ tokens, [1-9]\d* of \d+ before/,
    );
    await expect(page.getByRole("log").locator("p")).toHaveCount(2 * (turn + 1));
    expect(((await page.locator(".assistant").nth(turn).textContent()) ?? "").length).toBeGreaterThan(10);
  }
  await message.fill("And then");
  await message.press("Enter");
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(status).toHaveText(/\((abort|stop|length)\)/);
  await expect(message).toBeEnabled();
  expect(heard.filter(isNoProbe)).toEqual([]);
});

test("a model that cannot be loaded is said", async ({ page }) => {
  await page.goto(`${site.url}examples/chat.html?model=../nothing/`);
  await expect(page.getByRole("status")).toHaveText(/SourceError: .*nothing/);
});
