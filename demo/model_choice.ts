/** From a model that somebody names to one that the page holds: looked up, offered, loaded, and what goes wrong on the way. */

import {
  check,
  type LoadProgress,
  type Model,
  type ModelCheck,
  SourceError,
  type SourceOptions,
} from "../src/index.ts";
import type { Activity } from "./activity.ts";
import { bytesToFetch } from "./check_words.ts";
import type { DtypeChoice } from "./dtypes.ts";
import { type Failures, failureText } from "./failures.ts";
import { LoadView } from "./load_view.ts";
import { ModelPicker } from "./model_picker.ts";
import { type LoadRequest, ModelSeat } from "./model_seat.ts";
import { isRemote, STORIES, type WantedModel } from "./wanted_model.ts";

export interface ChoiceParts {
  /** Where names are looked up. */
  hub: URL;
  activity: Activity;
  failures: Failures;
  say: (message: string) => void;
  /** A model has been loaded, or none is left. */
  onModel: (model: Model | undefined, wanted: WantedModel | undefined) => void;
}

/** When a model that was looked up is loaded without asking. */
export type Unasked = "nothing" | "never" | { atMostBytes: number };

export class ModelChoice {
  readonly picker: ModelPicker;
  readonly #parts: ChoiceParts;
  readonly #seat = new ModelSeat();
  readonly #view = new LoadView();
  #isRecovering = false;
  /** What was looked up and can be loaded. */
  #offer: { wanted: WantedModel; check: ModelCheck } | undefined;
  /** Ends a look at what is left of a cancelled download. */
  #looking: AbortController | undefined;
  /** The load to try again, and what it failed of. */
  #again: { request: LoadRequest; error?: unknown } | undefined;

  constructor(parts: ChoiceParts) {
    this.#parts = parts;
    this.picker = new ModelPicker(parts.hub, {
      choose: (wanted) => void this.choose(wanted, "nothing"),
      load: () => void this.#loadOffer(),
      retype: () => void this.choose(this.#seat.request?.wanted ?? STORIES, "never"),
      cancel: () => parts.activity.stop(),
    });
  }

  get model(): Model | undefined {
    return this.#seat.model;
  }

  /** Looks a model up, offers it, and loads it at once where that fetches no more than may be fetched unasked. */
  async choose(wanted: WantedModel, unasked: Unasked): Promise<void> {
    // The page's own model is small, and known to run.
    if (wanted === STORIES && unasked !== "never") return this.load({ wanted, dtype: this.picker.dtype });
    const found = await this.#lookUp(wanted);
    if (!found?.supported || unasked === "never") return;
    const fetched = isUncached(wanted, found) ? Infinity : bytesToFetch(found);
    if (fetched <= (unasked === "nothing" ? 0 : unasked.atMostBytes)) await this.#loadOffer();
  }

  /** Loads a model in place of the one that is there, which stays where this fails. */
  load(request: LoadRequest): Promise<void> {
    const { wanted } = request;
    const { activity, failures, say } = this.#parts;
    this.#looking?.abort();
    return activity.instead(async (signal) => {
      failures.clear();
      say(wanted === STORIES ? "Loading the model…" : `Loading ${wanted.label}…`);
      this.#view.begin();
      try {
        let isThere = false;
        const onProgress = (progress: LoadProgress) =>
          isThere ? this.#recovering(progress) : this.#view.report(progress);
        await this.#seat.replace(request, { ...this.#reach(), signal, onProgress, recover: true });
        isThere = true;
        this.#offer = undefined;
        this.#again = { request };
        say("Ready.");
      } catch (error) {
        this.#again = { request, error };
        this.#tellFailure(wanted, error, signal);
      } finally {
        this.#view.end();
      }
      this.#tellModel();
      if (signal.aborted) void this.#lookAgain();
    });
  }

  /** Nothing waits any more for a model that is loaded again. */
  settle(): void {
    if (this.#isRecovering) this.#view.end();
    this.#isRecovering = false;
  }

  /** The GPU was lost, and the model is loaded once more; what was being written goes on then. */
  #recovering(progress: LoadProgress): void {
    const { phase, loadedBytes, totalBytes } = progress;
    const { say } = this.#parts;
    if (phase === "read") {
      say("The GPU was lost. Loading the model again…");
      this.#isRecovering = true;
      this.#view.begin();
    }
    this.#view.report(progress);
    if (phase !== "compile" || totalBytes === 0 || loadedBytes < totalBytes) return;
    this.settle();
    say("The GPU was lost, and the model is there again.");
  }

  /** What has come by now need not be downloaded: the offer says so, once that is known. */
  async #lookAgain(): Promise<void> {
    const offer = this.#offer;
    if (!offer) return;
    this.#looking = new AbortController();
    const { signal } = this.#looking;
    const found = await check(offer.wanted.source, { ...this.#reach(), signal }).catch(() => undefined);
    if (found && this.#offer === offer) this.#showFound(offer.wanted, found);
  }

  /** Loads again what failed, or the model that broke. */
  async loadAgain(): Promise<void> {
    if (!this.#again) return;
    const { request, error } = this.#again;
    await this.#seat.makeRoomAfter(error);
    await this.load(request);
  }

  /** Lets go of a model that is broken. */
  async discard(): Promise<void> {
    const { request } = this.#seat;
    if (request) this.#again = { request };
    await this.#seat.clear();
    this.#tellModel();
  }

  async #loadOffer(): Promise<void> {
    if (this.#offer) await this.load({ ...this.#offer, dtype: this.picker.dtype });
  }

  async #lookUp(wanted: WantedModel): Promise<ModelCheck | undefined> {
    const { activity, failures, say } = this.#parts;
    this.#looking?.abort();
    let found: ModelCheck | undefined;
    await activity.instead(async (signal) => {
      failures.clear();
      this.#offer = undefined;
      say(`Looking up ${wanted.label}…`);
      this.picker.showChecking(wanted);
      try {
        found = await check(wanted.source, { ...this.#reach(), signal });
        this.#showFound(wanted, found);
      } catch (error) {
        if (signal.aborted) this.picker.clear();
        else this.#showProblem(wanted, error);
      }
      this.picker.showCurrent(this.#seat.request?.wanted);
      say(this.#offer ? `${wanted.label} can be loaded.` : this.#resting());
    });
    return found;
  }

  #showFound(wanted: WantedModel, found: ModelCheck): void {
    if (found.supported) this.#offer = { wanted, check: found };
    const { model, request } = this.#seat;
    this.picker.showFound(wanted, found, (dtype: DtypeChoice) => {
      const notes = isUncached(wanted, found) ? ["This browser keeps no downloads: it is fetched each time."] : [];
      if (model && request && !this.#seat.hasRoomFor({ dtype, check: found })) {
        notes.push(`There is no room for two models: ${request.wanted.label} is given up first.`);
      }
      return notes.join(" ");
    });
  }

  #showProblem(wanted: WantedModel, error: unknown): void {
    const { label, repository } = wanted;
    if (repository && isRefusal(error)) this.picker.showRefusal(label, repository);
    else this.picker.showProblem(failureText(error));
  }

  #tellFailure(wanted: WantedModel, error: unknown, signal: AbortSignal): void {
    const { failures, say } = this.#parts;
    const left = this.#seat.request ? `${this.#seat.request.wanted.label} is still loaded.` : "No model is loaded.";
    if (signal.aborted) {
      say(`The load was stopped. ${left}`);
      return;
    }
    const title = wanted === STORIES ? "The model could not be loaded" : `${wanted.label} could not be loaded`;
    failures.show(error, title, true, this.#seat.request && left);
    say(this.#resting());
  }

  #tellModel(): void {
    const wanted = this.#seat.request?.wanted;
    this.picker.showCurrent(wanted);
    if (!this.#offer) this.picker.clear();
    this.#parts.onModel(this.#seat.model, wanted);
  }

  #resting(): string {
    return this.#seat.model ? "Ready." : "No model is loaded.";
  }

  #reach(): SourceOptions {
    return { endpoint: this.#parts.hub, token: () => this.picker.token };
  }
}

/** Whether it has to be fetched, with no place to keep it. */
function isUncached(wanted: WantedModel, { download }: ModelCheck): boolean {
  return isRemote(wanted) && !download?.kept;
}

/** Whether a hub refused for want of an access token, or of the right one. */
function isRefusal(error: unknown): boolean {
  return error instanceof SourceError && (error.status === 401 || error.status === 403);
}
