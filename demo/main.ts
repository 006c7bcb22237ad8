/** The page: loads the model, runs what is asked for, one thing at a time. */

import { type GenerationResult, load, type Model } from "../src/index.ts";
import { ComparisonView } from "./comparison_view.ts";
import { byId } from "./elements.ts";
import { showFacts } from "./facts.ts";
import { Failures, isFatal } from "./failures.ts";
import { counted, percent, significant } from "./format.ts";
import { run } from "./run.ts";
import { RunView } from "./run_view.ts";
import { type Settings, SettingsForm } from "./settings.ts";

const MODEL_FOLDER = "models/stories260k-layerskip/";

const settingsForm = new SettingsForm();
const view = new RunView();
const comparisonView = new ComparisonView();
const failures = new Failures(() => void start());
const generateButton = byId("generate", HTMLButtonElement);
const stopButton = byId("stop", HTMLButtonElement);
const compareButton = byId("compare", HTMLButtonElement);
const status = byId("status", HTMLElement);
const progress = byId("progress", HTMLProgressElement);

let model: Model | undefined;
/** Stops what runs; undefined while nothing does. */
let running: AbortController | undefined;

settingsForm.form.addEventListener("submit", (event) => {
  event.preventDefault();
  void generate();
});
stopButton.addEventListener("click", () => running?.abort());
compareButton.addEventListener("click", () => void compare());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.abort();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void generate();
});

await start();

/** Loads the model and, unless the address says `?autorun=0`, starts on the prompt that is there. */
async function start(): Promise<void> {
  failures.clear();
  say("Loading the model…");
  progress.hidden = false;
  progress.value = 0;
  try {
    await model?.dispose();
    model = await load(new URL(MODEL_FOLDER, document.baseURI), {
      onProgress: ({ loadedBytes, totalBytes }) => {
        progress.value = loadedBytes / totalBytes;
      },
    });
  } catch (error) {
    model = undefined;
    failures.show(error, "The model could not be loaded", true);
    say("The model is not loaded.");
    return;
  } finally {
    progress.hidden = true;
  }
  settingsForm.fit(model);
  showFacts(model);
  say("Ready.");
  enableControls();
  if (new URLSearchParams(location.search).get("autorun") !== "0") await generate();
}

function generate(): Promise<void> {
  return work(async (model, settings, signal) => {
    say("Writing…");
    say(summary(await run(model, settings, view, signal)));
  });
}

function compare(): Promise<void> {
  return work(async (model, settings, signal) => {
    comparisonView.begin();
    say("Comparing: first plain decoding…");
    const plain = await run(model, { ...settings, drafter: "none" }, view, signal);
    if (plain.finishReason === "abort") return say("The comparison was stopped.");
    say("Comparing: now LayerSkip…");
    const layerskip = await run(model, { ...settings, drafter: "layerskip" }, view, signal);
    if (layerskip.finishReason === "abort") return say("The comparison was stopped.");
    comparisonView.show({ plain, layerskip }, model.device.software);
    say("The comparison is done. Its table is below the text.");
  });
}

/** Does one thing with the model; anything asked for meanwhile is ignored. */
async function work(task: (model: Model, settings: Settings, signal: AbortSignal) => Promise<void>): Promise<void> {
  if (!model || running) return;
  running = new AbortController();
  failures.clear();
  enableControls();
  try {
    await task(model, settingsForm.read(), running.signal);
  } catch (error) {
    const fatal = isFatal(error);
    failures.show(error, "That did not work", fatal);
    say("Failed.");
    if (fatal) {
      await model.dispose();
      model = undefined;
    }
  } finally {
    running = undefined;
    enableControls();
  }
}

/** What can be done follows from whether there is a model and whether it is at work. */
function enableControls(): void {
  const idle = model !== undefined && running === undefined;
  settingsForm.enabled = model !== undefined;
  // A button that cannot be used for the moment keeps the focus; only without a model is it disabled for good.
  for (const [button, usable] of [
    [generateButton, idle],
    [compareButton, idle],
    [stopButton, running !== undefined],
  ] as const) {
    button.disabled = model === undefined;
    button.setAttribute("aria-disabled", String(!usable));
  }
}

function say(message: string): void {
  status.textContent = message;
}

function summary({ finishReason, rounds, stats }: GenerationResult): string {
  const ends = { stop: "Done: the story ended after", length: "Done:", abort: "Stopped after" };
  const drafts = stats.drafted > 0 ? `, ${percent(stats.acceptanceRate)} of the drafts accepted` : "";
  const speed = rounds.length > 0 ? `, ${significant(stats.tokensPerSecond)} tokens a second` : "";
  return `${ends[finishReason]} ${counted(stats.tokens, "token")} in ${counted(rounds.length, "round")}${drafts}${speed}.`;
}
