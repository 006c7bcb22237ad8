/** Other models on the page: from a hub, from files, from a link; chats; and what the page says where one cannot be loaded. */

import { join } from "node:path";
import { expect, test } from "@playwright/test";
import { asset, hasAsset } from "../test/assets.ts";
import { goldenCase } from "../test/golden.ts";
import { HubServer } from "../test/sources/hub_server.ts";
import { SMOLLM2_CASES } from "../test/text/smollm2.ts";
import {
  changed,
  drop,
  enlarged,
  type Files,
  filesOf,
  found,
  holdBack,
  LLAMA,
  lookUp,
  modelField,
  openWithHub,
  STORIES,
} from "./page_models.ts";
import { generate, ids, openIdle, promptBox, status } from "./page_story.ts";

/** More than a chunk of the cache, so that a check does not fetch all of it. */
const EXTRA_BYTES = 10e6;

let server: HubServer | undefined;

/** A hub that has this model as `owner/name`. */
async function startHub(files: Files): Promise<HubServer> {
  server = await HubServer.start(files);
  return server;
}

test.afterEach(async () => {
  await server?.stop();
  server = undefined;
});

test("a model from the hub: looked up, downloaded on a press, with progress; a second time nothing is fetched", async ({
  page,
}) => {
  const hub = await startHub(enlarged(filesOf(LLAMA), EXTRA_BYTES));
  await openWithHub(page, hub);
  await lookUp(page, "owner/name");
  await expect(found(page)).toContainText("owner/name · llama · 250K parameters");
  await expect(found(page)).toContainText(
    /to download\. Held in f32, which suits this device, it takes 1\.\d+ MB of GPU/,
  );
  await expect(page.getByRole("combobox", { name: "Weights" })).toContainText(/f16, \d+ kB|f16, \d\.\d+ MB/);

  const goOn = holdBack(hub);
  await page.getByRole("button", { name: /^Load \(1\d\.\d MB\)$/ }).click();
  await expect(page.locator("#progress-text")).toHaveText(/^Downloading: [\d.]+ MB of 11\.0 MB/);
  await expect(page.getByRole("progressbar")).toHaveAttribute("aria-valuetext", /^Downloading/);
  const share = () => page.getByRole("progressbar").evaluate((bar: HTMLProgressElement) => bar.value);
  await expect.poll(share).toBeGreaterThan(0.2);
  expect(await share()).toBeLessThan(1);
  goOn();
  await expect(page.locator("#model")).toContainText("owner/name · 250K parameters");
  await expect(status(page)).toHaveText("Ready.");
  await expect(found(page)).toBeEmpty();
  await page.getByLabel("Max tokens").fill("8");
  await generate(page);
  const first = await ids(page);
  expect(first).toHaveLength(8);

  // All is cached: a link loads it at once.
  hub.asked.length = 0;
  await openWithHub(page, hub, { model: "hf:owner/name" });
  await expect(page.locator("#model")).toContainText("owner/name");
  expect(hub.downloads).toEqual([]);
  await page.getByLabel("Max tokens").fill("8");
  await generate(page);
  expect(await ids(page)).toEqual(first);
});

test("the way back to the page's own model", async ({ page }) => {
  const hub = await startHub(filesOf(LLAMA));
  await openWithHub(page, hub, { model: "owner/name" });
  await expect(page.locator("#model")).toContainText("owner/name");
  await page.getByLabel("Max tokens").fill("4");
  await generate(page);
  await expect(page.locator("#story .token")).toHaveCount(4);
  await page.getByRole("button", { name: "Back to the stories model" }).click();
  await expect(page.locator("#model")).toContainText("stories260k-layerskip");
  // What another model wrote is gone.
  await expect(page.locator("#story")).toBeEmpty();
  await expect(page.locator("#timeline")).toBeEmpty();
  await expect(page.locator("[data-figure=speed] b")).toHaveText("–");
  await page.getByLabel("Max tokens").fill("12");
  await generate(page);
  expect(await ids(page)).toEqual(goldenCase("once").greedy.slice(0, 12));
});

test("a load that is cancelled leaves the model before it", async ({ page }) => {
  const hub = await startHub(enlarged(filesOf(LLAMA), EXTRA_BYTES));
  await openWithHub(page, hub);
  await lookUp(page, "owner/name");
  const load = page.getByRole("button", { name: /^Load \(/ });
  await expect(load).toBeVisible();
  const offered = await load.textContent();
  const goOn = holdBack(hub);
  await load.click();
  await expect(page.locator("#progress-text")).toHaveText(/^Downloading/);
  const share = () => page.getByRole("progressbar").evaluate((bar: HTMLProgressElement) => bar.value);
  await expect.poll(share).toBeGreaterThan(0.85); // all but what is held back
  await page.getByRole("button", { name: "Cancel" }).click();
  await expect(status(page)).toHaveText("The load was stopped. stories260k-layerskip is still loaded.");
  await expect(page.getByRole("progressbar")).toBeHidden();
  await expect(load, "less is left to download").not.toHaveText(offered!);
  await page.getByLabel("Max tokens").fill("20");
  await generate(page);
  expect(await ids(page)).toEqual(goldenCase("once").greedy.slice(0, 20));

  // And it can be taken up.
  goOn();
  await load.click();
  await expect(page.locator("#model")).toContainText("owner/name");
});

test("a load that fails leaves the model before it, and can be tried again", async ({ page }) => {
  const hub = await startHub(enlarged(filesOf(LLAMA), EXTRA_BYTES));
  await openWithHub(page, hub);
  await lookUp(page, "owner/name");
  const load = page.getByRole("button", { name: /^Load \(/ });
  await expect(load).toBeVisible();
  hub.meddle = ({ at }, response) => {
    if (at === "cdn") response.writeHead(400).end();
    return at === "cdn";
  };
  await load.click();
  const alert = page.getByRole("alert");
  await expect(alert.getByRole("heading")).toHaveText("owner/name could not be loaded");
  await expect(alert).toContainText("400");
  await expect(alert).toContainText("stories260k-layerskip is still loaded.");
  hub.meddle = () => true;
  await alert.getByRole("button", { name: "Load the model again" }).click();
  await expect(alert).toBeHidden();
  await page.keyboard.press("Escape");
  await expect(status(page)).toHaveText(/^The load was stopped/);
  await page.getByLabel("Max tokens").fill("20");
  await generate(page);
  expect(await ids(page)).toEqual(goldenCase("once").greedy.slice(0, 20));

  hub.meddle = () => false;
  await load.click();
  await expect(page.locator("#model")).toContainText("owner/name");
});

test("where there is no room for two models, the one that is there is given up first, and it is said so", async ({
  page,
}) => {
  await page.addInitScript(() => Object.defineProperty(navigator, "deviceMemory", { value: 0.004 }));
  const hub = await startHub(enlarged(filesOf(LLAMA), EXTRA_BYTES));
  await openWithHub(page, hub);
  await lookUp(page, "owner/name");
  await expect(found(page)).toContainText("no room for two models: stories260k-layerskip is given up first.");
  hub.meddle = ({ at }, response) => {
    if (at === "cdn") response.writeHead(400).end();
    return at === "cdn";
  };
  await page.getByRole("button", { name: /^Load \(/ }).click();
  const alert = page.getByRole("alert");
  await expect(alert).toContainText("400");
  await expect(status(page)).toHaveText("No model is loaded.");
  await expect(page.getByRole("button", { name: "Generate" })).toBeDisabled();
  hub.meddle = () => false;
  await alert.getByRole("button", { name: "Load the model again" }).click();
  await expect(page.locator("#model")).toContainText("owner/name");
});

test("a browser that keeps no downloads asks before each", async ({ page }) => {
  await page.addInitScript(() => Object.defineProperty(navigator.storage, "getDirectory", { value: undefined }));
  const hub = await startHub(filesOf(LLAMA));
  await openWithHub(page, hub, { model: "owner/name" });
  await expect(found(page)).toContainText("This browser keeps no downloads: it is fetched each time.");
  await expect(status(page)).toHaveText("owner/name can be loaded.");
  await page.getByRole("button", { name: /^Load \(1\.\d+ MB\)$/ }).click();
  await expect(page.locator("#model")).toContainText("owner/name");
});

test("a model that cannot be run says why before it is downloaded", async ({ page }) => {
  const files = enlarged(filesOf(LLAMA), EXTRA_BYTES);
  const hub = await startHub(
    changed(files, "config.json", { model_type: "mamba", architectures: ["MambaForCausalLM"] }),
  );
  await openWithHub(page, hub);
  await lookUp(page, "owner/name");
  await expect(found(page)).toContainText("owner/name cannot be run here.");
  await expect(found(page)).toContainText("mamba");
  await expect(page.getByRole("button", { name: /^Load/ })).toBeHidden();
  expect(hub.sent).toBeLessThan(1e6);
  await expect(status(page)).toHaveText("Ready.");
});

test("a model that is not there says so", async ({ page }) => {
  const hub = await startHub(filesOf(LLAMA));
  await openWithHub(page, hub);
  await lookUp(page, "owner/other");
  await expect(found(page)).toContainText("there is no owner/other or no such revision of it");
  await expect(page.getByLabel("Access token")).toBeHidden();
  await lookUp(page, "gpt2");
  await expect(found(page)).toContainText("is not of the form hf:owner/name");
  await expect(status(page)).toHaveText("Ready.");
});

test("a hub that refuses is asked again with an access token, which goes nowhere else and is not kept", async ({
  page,
}) => {
  const hub = await startHub(filesOf(LLAMA));
  hub.meddle = ({ at, authorization }, response) => {
    const refused = at === "hub" && authorization !== "Bearer hf_secret";
    if (refused) response.writeHead(401).end();
    return refused;
  };
  await openWithHub(page, hub);
  await lookUp(page, "owner/name");
  const token = page.getByLabel(`Access token for ${new URL(hub.endpoint).host}`);
  await expect(token).toBeFocused();
  await expect(found(page)).toContainText("does not give owner/name to everybody");
  await expect(found(page).getByRole("link")).toHaveAttribute("href", `${hub.endpoint}/owner/name`);
  await token.fill("hf_secret");
  await token.press("Enter");
  await page.getByRole("button", { name: /^Load/ }).click();
  await expect(page.locator("#model")).toContainText("owner/name");
  await expect(token).toBeHidden();
  await expect(token).toHaveValue("");
  expect(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]))).toBe(
    '[{},{},""]',
  );
  expect(new Set(hub.asked.filter(({ at }) => at === "cdn").map(({ authorization }) => authorization))).toEqual(
    new Set([undefined]),
  );
});

test("files that are dropped, and files that are picked, are loaded where they are", async ({ page }) => {
  await openIdle(page);
  const llama = Object.keys(filesOf(LLAMA));
  await drop(
    page,
    llama.map((name) => join(LLAMA, name)),
  );
  await expect(page.locator("#model")).toContainText(`${llama.length} files · 250K parameters`);
  await expect(page.locator("#drop")).toBeHidden();

  const chooser = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Files…" }).click();
  const stories = Object.keys(filesOf(STORIES)).map((name) => join(STORIES, name));
  await (await chooser).setFiles(stories);
  await expect(page.locator("#model")).toContainText(`${stories.length} files · 260K parameters`);
  await page.getByLabel("Max tokens").fill("12");
  await generate(page);
  expect(await ids(page)).toEqual(goldenCase("once").greedy.slice(0, 12));

  await drop(page, [join(LLAMA, "config.json")]);
  await expect(found(page)).toContainText("is one file of a model");
});

test("another type of weights is offered with what it takes", async ({ page }) => {
  await openIdle(page);
  await page.getByRole("combobox", { name: "Weights" }).selectOption("q8");
  await expect(found(page)).toContainText("Held in q8, it takes");
  await page.getByRole("button", { name: "Load", exact: true }).click();
  await expect(page.locator("#model")).toContainText("· q8 ·");
});

test("a link loads a small model in the type of weights it names, and asks before a large one", async ({ page }) => {
  const hub = await startHub(filesOf(LLAMA));
  await openWithHub(page, hub, { model: "hf:owner/name", dtype: "q8" });
  await expect(page.locator("#model")).toContainText("· q8 ·");
  await expect(modelField(page)).toHaveValue("hf:owner/name");

  for (const [path, bytes] of Object.entries(enlarged(filesOf(LLAMA), 25e6))) hub.files.set(path, bytes);
  await openWithHub(page, hub, { model: "hf:owner/name", dtype: "q8" });
  await expect(status(page)).toHaveText("owner/name can be loaded.");
  await expect(page.locator("#model")).toBeHidden();
  await page.getByRole("button", { name: /^Load \(2\d\.\d MB\)/ }).click();
  await expect(page.locator("#model")).toContainText("· q8 ·");
});

test("a chat model is given messages, or a text to continue", async ({ page }) => {
  // The system message and what the user says, joined: the golden prompt.
  const template = "{{ bos_token }}{% for message in messages %}{{ message.content }}{% endfor %}";
  const hub = await startHub(changed(filesOf(STORIES), "tokenizer_config.json", { chat_template: template }));
  await openIdle(page);
  await expect(page.getByRole("radio", { name: "Chat" })).toBeHidden();
  await openWithHub(page, hub, { model: "owner/name" });
  await expect(page.getByRole("radio", { name: "Chat" })).toBeChecked();
  const message = page.getByRole("textbox", { name: "Message", exact: true });
  await expect(message).toHaveValue("Why is the sky blue?");
  const { text, greedy, prompt } = goldenCase("dialogue");
  const said = text.indexOf(" asked");
  await page.getByLabel("System message").fill(text.slice(0, said));
  await message.fill(text.slice(said));
  await expect(page.locator("#prompt-tokens")).toHaveText(`${prompt.length} tokens`);
  await page.getByLabel("Max tokens").fill("20");
  await generate(page);
  expect(await ids(page)).toEqual(greedy.slice(0, 20));
  await expect(page.locator("#story .story__prompt")).toHaveText(text.slice(said + 1));

  await page.getByRole("radio", { name: "Continue text" }).check();
  await expect(page.getByLabel("System message")).toBeHidden();
  await promptBox(page).fill(text);
  await generate(page);
  expect(await ids(page)).toEqual(greedy.slice(0, 20));
});

test.describe("slow", () => {
  const GGUF = "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf";
  test.skip(process.env.LAYERLEAP_SLOW !== "1" || !hasAsset(GGUF), "LAYERLEAP_SLOW=1 and its asset only");
  test.setTimeout(900_000);

  test("SmolLM2's GGUF is dropped and answers", async ({ page }) => {
    await openIdle(page);
    await drop(page, [asset(GGUF)]);
    await expect(page.locator("#model")).toContainText("SmolLM2-135M-Instruct.Q4_1.gguf · 135M parameters", {
      timeout: 600_000,
    });
    await expect(page.getByRole("radio", { name: "Chat" })).toBeChecked();
    const { messages, prompt, greedy } = SMOLLM2_CASES[0]!;
    await page.getByRole("textbox", { name: "Message", exact: true }).fill(messages![0]!.content);
    await expect(page.locator("#prompt-tokens")).toHaveText(`${prompt.length} tokens`);
    await page.getByLabel("Max tokens").fill("8");
    await page.getByRole("button", { name: "Generate" }).click();
    await expect(status(page)).toHaveText(/^Done/, { timeout: 300_000 });
    expect(await ids(page)).toEqual(greedy.slice(0, 8));
  });
});
