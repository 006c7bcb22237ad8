/** The demo page, built, with the real engine on real WebGPU. */

import { expect, test } from "@playwright/test";
import { goldenCase } from "../test/golden.ts";
import {
  choose,
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
  treeDrafts,
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
  for (const drafter of ["Auto", "LayerSkip"] as const) {
    await choose(page, drafter);
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
    expect(counts.correction + counts.bonus).toBe(played.filter(({ drafted }) => drafted > 0).length);
    // The prefill's token.
    expect(counts.plain).toBe(1 + played.filter(({ drafted }) => drafted === 0).length);
    if (drafter === "Auto") continue;
    // Its drafts are chains. The governor also takes trees, where a bonus may stand behind one branch of several.
    expect(counts.bonus).toBe(played.filter(({ drafted, accepted }) => drafted > 0 && accepted === drafted).length);
  }
});

test("the sliders set exit layer and draft length, and whatever they say the ids are the golden ones", async ({
  page,
}) => {
  const { text, greedy, rounds: golden } = goldenCase("dialogue");
  await openIdle(page);
  await promptBox(page).fill(text);
  await choose(page, "LayerSkip");
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

test("the plain drafter drafts nothing and has no sliders", async ({ page }) => {
  await openIdle(page);
  await choose(page, "Plain");
  await expect(page.getByRole("slider")).toHaveCount(0);
  await page.getByLabel("Max tokens").fill("24");
  await generate(page);
  const shown = await tokens(page);
  expect(shown.map(({ id }) => id)).toEqual(goldenCase("once").greedy.slice(0, 24));
  expect(new Set(shown.map(({ origin }) => origin))).toEqual(new Set(["plain"]));
  expect(await rounds(page)).toEqual(Array(23).fill({ drafted: 0, accepted: 0 }));
});

test("Lookup and Recycling have a tree and no layers, and write plain decoding's text", async ({ page }) => {
  const greedy = goldenCase("once").greedy.slice(0, 120);
  await openIdle(page);
  await page.getByLabel("Max tokens").fill("120");
  for (const [drafter, size] of [
    ["Lookup", "7"],
    ["Recycling", "15"],
  ] as const) {
    await choose(page, drafter);
    await expect(page.getByRole("slider")).toHaveCount(1);
    await expect(page.getByRole("slider", { name: "Tree size" })).toHaveValue(size);
    await generate(page);
    expect(await ids(page), drafter).toEqual(greedy);
    const played = await rounds(page);
    expect(Math.max(...played.map(({ drafted }) => drafted)), drafter).toBeLessThanOrEqual(Number(size));
    expect(Math.max(...played.map(({ accepted }) => accepted)), drafter).toBeGreaterThan(1);
    await expect(page.locator("#balance")).toContainText("no layers drafted");
    await expect(page.locator("#timeline .work--draft"), "all of a round is the check").toHaveCount(0);
  }
});

test("a round's tree is spelled out: each draft under the one it continues, and the path that became text", async ({
  page,
}) => {
  await openIdle(page);
  await choose(page, "Ouroboros");
  for (const name of ["Exit layer", "Draft length"]) await expect(page.getByRole("slider", { name })).toBeVisible();
  await slide(page, "Tree size", 6);
  await page.getByLabel("Max tokens").fill("100");
  await generate(page);
  expect(await ids(page)).toEqual(goldenCase("once").greedy.slice(0, 100));
  // The round that accepted most of its tree.
  const played = await rounds(page);
  const most = Math.max(...played.map(({ drafted, accepted }) => (drafted === 10 ? accepted : 0)));
  expect(most).toBeGreaterThan(4);
  const number = 1 + played.findIndex(({ drafted, accepted }) => drafted === 10 && accepted === most);
  const bar = page.locator(`#timeline [data-round="${number}"]`);
  await bar.focus();
  await expect(
    page.getByRole("heading", { name: `Round ${number}: 4 tokens from layer 2, then a tree of 6` }),
  ).toBeVisible();
  await expect(bar).toHaveAccessibleName(
    /drafted 4 tokens from layer 2, then a tree of 6: “.+”, “.+”; \d of 10 accepted/,
  );

  const drafts = await treeDrafts(page);
  expect(drafts.map(({ draft }) => draft).sort((a, b) => a - b)).toEqual([...Array(10).keys()]);
  for (const { draft, parent, under } of drafts) {
    expect(under).toBe(parent);
    expect(parent).toBeLessThan(draft);
    if (draft < 4) expect(parent, "the layers' drafts are a chain").toBe(draft - 1);
  }
  const path = drafts.filter(({ accepted }) => accepted);
  const text = (await page.locator("#story .token--pointed").allTextContents()).slice(0, most);
  expect(path.map((each) => each.text.trim())).toEqual(text.map((each) => each.trim().replace("\n", "↵")));
});

test("a comparison finds the same ids and says what came of it, with sampling too", async ({ page }) => {
  await openIdle(page);
  await choose(page, "LayerSkip");
  await page.getByLabel("Max tokens").fill("60");
  const compare = async () => {
    await page.getByRole("button", { name: "Compare" }).click();
    await expect(status(page)).toHaveText(/^The comparison is done/);
  };
  await compare();

  const table = page.getByRole("table");
  await expect(table).toHaveAttribute("data-identical", "true");
  await expect(table).toContainText("✓ identical, all 60 tokens");
  const cells = (name: string) => table.getByRole("row", { name }).getByRole("cell").allTextContents();
  const played = await rounds(page);
  expect(await cells("Rounds")).toEqual(["59", String(played.length), expect.stringMatching(/^0\.\d\d×$/)]);
  // One submission a round; one more may be under way when the end is read.
  const [plainSubmissions, submissions] = (await cells("Submissions")).map(Number);
  expect(plainSubmissions).toBe(59);
  expect([played.length, played.length + 1]).toContain(submissions);
  expect((await cells("Tokens a round"))[0]).toBe("1.00");
  for (const name of ["Tokens a second", "Dispatches a token"]) {
    for (const cell of await cells(name)) expect(Number.parseFloat(cell)).toBeGreaterThan(0);
  }
  expect((await cells("Drafts accepted"))[1]).toMatch(/^\d+ %$/);
  await expect(page.locator("#verdict")).toHaveText(/^The same text /);

  // Both draw from one seed, which the page has drawn.
  await page.getByText("Sampling:").click();
  await page.getByLabel("Temperature").fill("0.9");
  await choose(page, "Auto");
  await compare();
  await expect(table).toHaveAttribute("data-identical", "true");
  await expect(table.getByRole("columnheader", { name: "Auto" })).toBeVisible();
  await expect(page.locator("#verdict")).toHaveText(/^The same text from the same seed, \d+, /);
});

test("Stop ends a run between rounds and keeps what there is", async ({ page }) => {
  await openIdle(page);
  await choose(page, "Plain");
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

  await choose(page, "LayerSkip");
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
    /^Round 2: drafted “.+” from layer 2; \d of 4 accepted, then a (correction|bonus) “.+”; \d tokens? in [\d.]+ ms, [\d.,]+ a second$/,
  );
  await expect(page.locator("#detail")).toContainText("Round 2");
  await expect(page.locator("#story .token--pointed").first()).toBeVisible();
  // A bar that scrolls under a pointer that lies still is not pointed at.
  const box = await strip.getByRole("button").first().boundingBox();
  if (!box) throw new Error("the first round is not on the page");
  await page.mouse.move(box.x + box.width / 2, box.y - 60);
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowRight");
  await page.evaluate(() => scrollBy({ top: 60, behavior: "instant" }));
  await expect.poll(() => page.evaluate(() => document.querySelector("button.round:hover") !== null)).toBe(true);
  await expect(page.locator("#detail")).toContainText("Round 2");
  await page.keyboard.press("End");
  await expect(strip.getByRole("button").last()).toBeFocused();
  expect(await strip.locator('[tabindex="0"]').count()).toBe(1);

  // The detail stays, and its buttons go on from there.
  await page.getByRole("button", { name: "Round before" }).focus();
  await page.keyboard.press("Enter");
  const shown = (await rounds(page)).length - 1;
  await expect(page.locator("#detail")).toContainText(`Round ${shown}`);
  await expect(strip.locator(".round--pointed")).toHaveAttribute("data-round", String(shown));
});

test("Auto is the default: a bar for each round, with what the governor compared", async ({ page }) => {
  await openIdle(page);
  await expect(page.getByRole("radio", { name: "Auto" })).toBeChecked();
  await expect(page.getByRole("slider")).toHaveCount(0);
  await expect(page.locator("#timeline-empty")).toBeVisible();
  await generate(page);
  const [, played = ""] = (await status(page).textContent())?.match(/in (\d+) rounds/) ?? [];
  const bars = page.getByRole("list", { name: "Rounds in order" }).getByRole("button");
  await expect(bars).toHaveCount(Number(played));
  await expect(page.locator("#timeline-empty")).toBeHidden();
  const shown = await bars.evaluateAll((buttons) =>
    buttons.map((button) => {
      const { top, left, right } = button.getBoundingClientRect();
      return { top, left, right, tokens: Number(button.dataset.tokens) };
    }),
  );
  expect(shown.reduce((sum, { tokens }) => sum + tokens, 0)).toBe(199); // but the prompt's own
  for (const [i, bar] of shown.slice(1).entries()) {
    const before = shown[i]!;
    expect(bar.top > before.top || bar.left > before.left, "in order").toBe(true);
    // Bars of no length are given some.
    if (bar.top === before.top) expect(bar.left).toBeGreaterThan(before.right - 6);
  }

  await bars.nth(5).click();
  const prices = page.getByRole("table", { name: "What the governor expected of a round" });
  await expect(prices.getByRole("columnheader")).toHaveText(["Plan", "ms", "tokens", "tokens/s"]);
  await expect(
    prices
      .getByRole("row", { name: /^plain/ })
      .getByRole("cell")
      .nth(1),
  ).toHaveText("1.00");
  await expect(prices.getByRole("rowheader", { name: "(chosen)" })).toHaveCount(1);
  const more = page.getByRole("button", { name: /^Show all \d+ plans$/ });
  const plans = Number.parseInt((await more.textContent())?.replace(/\D/g, "") ?? "", 10);
  await more.click();
  await expect(prices.getByRole("rowheader")).toHaveCount(plans);
  await page.getByRole("button", { name: "Round after" }).click();
  await expect(page.getByRole("heading", { name: /^Round 7: / })).toBeVisible();
  await expect(prices.getByRole("rowheader"), "all plans are shown still").toHaveCount(plans);
  await expect(page.locator("#governor")).toHaveText(
    /^The governor (drafted|decoded plainly) in (\d+ of|all) \d+ rounds.+\.$/,
  );
});

test("sampling: seeds repeat texts whatever the drafter, every option counts, bad ones are refused in words", async ({
  page,
}) => {
  const greedy = goldenCase("once").greedy.slice(0, 16);
  await openIdle(page);
  await page.getByLabel("Max tokens").fill("16");
  await page.getByText("Sampling:").click();
  await page.getByText("More filters").click();
  for (const name of ["Top-p", "Top-k", "Min-p", "Seed"]) await expect(page.getByLabel(name)).toBeDisabled();
  const fill = async (fields: Record<string, string>) => {
    for (const [name, value] of Object.entries(fields)) await page.getByLabel(name, { exact: true }).fill(value);
  };
  const idsOf = async (fields: Record<string, string>) => {
    await fill(fields);
    await generate(page);
    return ids(page);
  };
  expect(await idsOf({ "Repetition penalty": "3" })).not.toEqual(greedy);
  const drawn = await idsOf({ "Repetition penalty": "", Temperature: "1.2", Seed: "7" });
  for (const drafter of ["Plain", "LayerSkip", "Ouroboros", "Lookup", "Recycling", "Auto"] as const) {
    await choose(page, drafter);
    expect(await idsOf({}), drafter).toEqual(drawn);
  }
  expect(await idsOf({ Seed: "8" })).not.toEqual(drawn);
  // Each of them leaves the most probable token alone.
  for (const [name, value] of Object.entries({ "Top-k": "1", "Top-p": "0.001", "Min-p": "1" })) {
    expect(await idsOf({ [name]: value }), name).toEqual(greedy);
    await fill({ [name]: "" });
  }

  await fill({ "Top-p": "2", Seed: "" });
  await page.getByRole("button", { name: "Generate" }).click();
  const alert = page.getByRole("alert");
  await expect(alert).toContainText("topP: found 2, expected a number from 0 to 1");
  await idsOf({ "Top-p": "" });
  await expect(alert).toBeHidden();
  // The seed that the page has drawn can be kept.
  const random = await ids(page);
  await page.getByRole("button", { name: "Use it again" }).click();
  await expect(page.getByLabel("Seed")).toHaveValue(/^\d+$/);
  expect(await idsOf({})).toEqual(random);
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

test("fits a desktop and a phone of 360 pixels, light and dark", async ({ page }, testInfo) => {
  await page.goto("./");
  await finished(page);
  await page.getByText("Sampling:").click();
  await page.getByText("More filters").click();
  await page.locator("#timeline button").first().click();
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
