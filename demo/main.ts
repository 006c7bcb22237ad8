/** The page: its parts put together, and what its buttons do. */

import {
  type Calibration,
  type CalibrationProgress,
  type GenerationResult,
  listCached,
  type Model,
} from "../src/index.ts";
import { Activity } from "./activity.ts";
import { AdapterField, FITTED_TOKENS } from "./adapter_field.ts";
import { readAddress } from "./address.ts";
import { ComparisonView } from "./comparison_view.ts";
import { DRAFTERS } from "./drafters.ts";
import { byId } from "./elements.ts";
import { hideFacts, showFacts } from "./facts.ts";
import { Failures, isFatal } from "./failures.ts";
import { counted, percent, significant } from "./format.ts";
import { ModelChoice } from "./model_choice.ts";
import { run } from "./run.ts";
import { RunView } from "./run_view.ts";
import { seeded } from "./sampling_fields.ts";
import { draftingSettings, type Settings, SettingsForm } from "./settings.ts";
import { STORIES, SUGGESTIONS, type WantedModel } from "./wanted_model.ts";

/** What a link may fetch before anybody is asked. */
const UNASKED_BYTES = 20e6;

const address = readAddress(location.search);
const adapterField = new AdapterField(() => void fitAdapter());
const settingsForm = new SettingsForm(adapterField);
const view = new RunView();
const comparisonView = new ComparisonView();
const generateButton = byId("generate", HTMLButtonElement);
const stopButton = byId("stop", HTMLButtonElement);
const compareButton = byId("compare", HTMLButtonElement);
const status = byId("status", HTMLElement);
const failures = new Failures(() => void loadAgain());
const activity = new Activity(enableControls);
const choice = new ModelChoice({ hub: address.hub, activity, failures, say, onModel });

settingsForm.form.addEventListener("submit", (event) => {
  event.preventDefault();
  void generate();
});
stopButton.addEventListener("click", () => activity.stop());
compareButton.addEventListener("click", () => void compare());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") activity.stop();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void generate();
});

/** Whose text and figures are shown. */
let shown: Model | undefined;

await start();

/** Loads the page's own model, or the one that the address names, and starts on the prompt that is there. */
async function start(): Promise<void> {
  const { model: wanted, modelText, dtype, autorun } = address;
  choice.picker.fill(modelText, dtype);
  void suggest();
  if (wanted) await choice.choose(wanted, { atMostBytes: UNASKED_BYTES });
  else await choice.load({ wanted: STORIES, dtype });
  if (autorun) await generate();
}

async function loadAgain(): Promise<void> {
  await choice.loadAgain();
  if (address.autorun) await generate();
}

function onModel(model: Model | undefined, wanted: WantedModel | undefined): void {
  if (model && model !== shown) {
    view.clear();
    comparisonView.begin();
    shown = model;
  }
  if (model && wanted) {
    settingsForm.fit(model);
    showFacts(model, wanted.label);
  } else hideFacts();
  void suggest();
}

/** Offers what is cached, and some that are known to run, while a name is typed. */
async function suggest(): Promise<void> {
  const cached = await listCached().catch(() => []);
  choice.picker.suggest([...new Set([...cached.map(({ source }) => source.replace(/^hf:/, "")), ...SUGGESTIONS])]);
}

/** Fits an exit adapter to the model, which drafts from then on. */
function fitAdapter(): Promise<void> {
  return work(async (model, _, signal) => {
    await fitAnAdapter(model, signal);
  });
}

/** @returns whether it has not been stopped */
async function fitAnAdapter(model: Model, signal: AbortSignal): Promise<boolean> {
  say("Fitting an exit adapter…");
  const begun = performance.now();
  let calibration: Calibration | undefined;
  try {
    const onProgress = (progress: CalibrationProgress) => adapterField.progress(progress);
    calibration = await model.calibrate({ maxTokens: FITTED_TOKENS, onProgress, signal });
    say("The exit adapter is fitted.");
  } catch (error) {
    if (!signal.aborted) throw error;
    say("The fitting was stopped.");
  } finally {
    if (calibration) adapterField.end(model, calibration, performance.now() - begun);
    else adapterField.stopped(model);
  }
  return calibration !== undefined;
}

function generate(): Promise<void> {
  return work(async (model, settings, signal) => {
    if (settings.drafter === "adapter" && !model.exitAdapter && !(await fitAnAdapter(model, signal))) return;
    say("Writing…");
    const result = await run(model, settings, view, signal);
    settingsForm.showSeed(result.seed);
    say(summary(result));
  });
}

/** Plain decoding and one that drafts, with the same seed. */
function compare(): Promise<void> {
  return work(async (model, settings, signal) => {
    comparisonView.begin();
    if (settings.drafter === "adapter" && !model.exitAdapter && !(await fitAnAdapter(model, signal))) return;
    say("Comparing: first plain decoding…");
    const plain = await run(model, { ...settings, drafter: "none" }, view, signal);
    if (plain.finishReason === "abort") return say("The comparison was stopped.");
    const drafting = draftingSettings(model, settings);
    const { name } = DRAFTERS[drafting.drafter];
    say(`Comparing: now ${name}…`);
    const drafted = await run(model, drafting, view, signal);
    settingsForm.showSeed(drafted.seed);
    if (drafted.finishReason === "abort") return say("The comparison was stopped.");
    comparisonView.show({ plain, drafted, name }, model.device.software);
    say("The comparison is done. Its table is below the text.");
  });
}

/** Does one thing with the model; what is asked for meanwhile is ignored. */
async function work(task: (model: Model, settings: Settings, signal: AbortSignal) => Promise<void>): Promise<void> {
  const { model } = choice;
  if (!model) return;
  await activity.ifIdle(async (signal) => {
    failures.clear();
    try {
      await task(model, seeded(settingsForm.read()), signal);
    } catch (error) {
      const fatal = isFatal(error);
      failures.show(error, "That did not work", fatal);
      say("Failed.");
      if (fatal) await choice.discard();
    } finally {
      choice.settle();
    }
  });
}

/** What can be done follows from whether there is a model and whether something goes on. */
function enableControls(): void {
  const { busy } = activity;
  const ready = choice.model !== undefined;
  settingsForm.enabled = ready;
  choice.picker.busy = busy;
  // A button that cannot be used for the moment keeps the focus; only without a model is it disabled for good.
  for (const [button, possible, usable] of [
    [generateButton, ready, ready && !busy],
    [compareButton, ready, ready && !busy],
    [stopButton, ready || busy, busy],
  ] as const) {
    button.disabled = !possible;
    button.setAttribute("aria-disabled", String(!usable));
  }
}

function say(message: string): void {
  status.textContent = message;
}

function summary({ finishReason, rounds, stats }: GenerationResult): string {
  const ends = {
    stop: "Done: the text ended after",
    length: "Done:",
    time: "Time is up after",
    abort: "Stopped after",
  };
  const drafts = stats.drafted > 0 ? `, ${percent(stats.acceptanceRate)} of the drafts accepted` : "";
  const speed = rounds.length > 0 ? `, ${significant(stats.tokensPerSecond)} tokens a second` : "";
  return `${ends[finishReason]} ${counted(stats.tokens, "token")} in ${counted(rounds.length, "round")}${drafts}${speed}.`;
}
