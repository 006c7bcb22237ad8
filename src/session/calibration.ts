/** What `model.calibrate` and `model.exitAgreement` do: options checked, the text cut into pieces, progress told. */

import { exitAgreement } from "../calibration/exit_agreement.ts";
import { fitExits } from "../calibration/fit.ts";
import { InputError } from "../errors.ts";
import type {
  CalibratedExit,
  CalibrateOptions,
  Calibration,
  CalibrationProgress,
  ExitAgreementOptions,
  ExitAgreementResult,
  GenerateOptions,
} from "../types.ts";
import type { Controllers } from "./controllers.ts";
import { type AdapterTarget, adapterBase } from "./exit_adapter.ts";
import type { Generation } from "./generation.ts";
import { requireInteger, requireKnown } from "./options.ts";

const OPTIONS: readonly (keyof CalibrateOptions)[] = ["exitLayer", "maxTokens", "onProgress", "seed", "signal", "text"];
const AGREEMENT_OPTIONS: readonly (keyof ExitAgreementOptions)[] = [
  ...(["exitLayers", "from", "maxTokens", "onProgress", "seed", "signal", "text"] as const),
];
const DEFAULT_TOKENS = 4096;
const DEFAULT_COMPARED = 256;
/** Tokens of a piece of a text that maps are fitted on: each is read as a text of its own. */
const PIECE = 512;
/** Exit layers that are compared, as shares of all layers. */
const CANDIDATES = [1 / 10, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3];
/** Between two rests of the host, in milliseconds: a page stays alive. */
const REST_EVERY_MS = 12;
const LAST_SEED = 2 ** 53 - 1;

/** A text that the model is to write. */
export interface WantedText {
  maxTokens: number;
  seed: number;
  /** Called all the time, with the share of it that is there; what it throws ends the work. */
  written: (done: number) => Promise<void>;
}

/** What is asked, checked. */
export interface CalibrationRequest extends WantedText {
  texts: readonly string[] | undefined;
  exitLayers: readonly number[];
  breath: (phase: CalibrationProgress["phase"], done: number) => Promise<void>;
}

/** @throws InputError for options that are out of range */
export function readCalibrateOptions(options: CalibrateOptions, layers: number): CalibrationRequest {
  const where = "calibrate";
  requireKnown(where, options, OPTIONS);
  const { text, exitLayer, maxTokens = DEFAULT_TOKENS, seed = 0, onProgress, signal } = options;
  if (layers < 2) {
    throw new InputError({ file: where, field: "model", found: "1 layer", expected: "2 or more, to exit after one" });
  }
  const texts = typeof text === "string" ? [text] : text;
  if (texts && !(Array.isArray(texts) && texts.every((each) => typeof each === "string"))) {
    throw new InputError({ file: where, field: "text", found: typeof text, expected: "a text or a list of texts" });
  }
  const candidates = CANDIDATES.map((share) => Math.max(1, Math.min(layers - 1, Math.round(share * layers))));
  const rest = breather(signal);
  const breath = (phase: CalibrationProgress["phase"], done: number) =>
    rest(() => onProgress?.({ phase, done }), done >= 1);
  return {
    ...{ texts, breath },
    written: (done) => breath("write", done),
    exitLayers:
      exitLayer === undefined
        ? [...new Set(candidates)].sort((a, b) => a - b)
        : [requireInteger(where, "exitLayer", exitLayer, 1, layers - 1)],
    maxTokens: requireInteger(where, "maxTokens", maxTokens, 1, Number.MAX_SAFE_INTEGER),
    seed: requireInteger(where, "seed", seed, 0, LAST_SEED),
  };
}

/** Tells progress, hears of an abort, and lets the host rest; the last two not each time. */
function breather(signal: AbortSignal | undefined): (tell: () => void, always?: boolean) => Promise<void> {
  let restedAt = performance.now();
  return async (tell, always = false) => {
    signal?.throwIfAborted();
    if (!always && performance.now() - restedAt < REST_EVERY_MS) return;
    tell();
    await new Promise((resolve) => setTimeout(resolve));
    signal?.throwIfAborted();
    restedAt = performance.now();
  };
}

/** Into which pieces texts are cut. */
interface Cutting {
  /** In all, at most. */
  maxTokens: number;
  /** Of a piece, at most. */
  length: number;
  /** What pieces begin with that are not the beginning of a text. */
  begin?: readonly number[];
}

/** Pieces of texts, in their order. */
function pieces(
  texts: readonly (readonly number[])[],
  { maxTokens, length, begin = [] }: Cutting,
): (readonly number[])[] {
  const all: (readonly number[])[] = [];
  let left = maxTokens;
  for (const ids of texts) {
    for (let start = 0; start < ids.length && left > 0; ) {
      const before = start === 0 ? [] : begin;
      const count = Math.min(length - before.length, left, ids.length - start);
      all.push([...before, ...ids.slice(start, start + count)]);
      left -= count;
      start += count;
    }
  }
  return all;
}

/** Tokens of a text that the model writes. */
const WRITTEN_TOKENS = 256;

/**
 * Texts of the model's own, as many tokens as are wanted.
 * @param begin what each begins with
 */
export async function writeTexts(
  generate: (prompt: readonly number[], options: GenerateOptions) => Generation,
  begin: readonly number[],
  { maxTokens, seed, written }: WantedText,
  signal: AbortSignal | undefined,
): Promise<number[][]> {
  const texts: number[][] = [];
  for (let left = maxTokens; left > 0; ) {
    const sampling = { temperature: 1, seed: (seed + texts.length) % (LAST_SEED + 1) };
    const ids = [...begin];
    const limits = { maxTokens: Math.min(left, WRITTEN_TOKENS), ...(signal && { signal }) };
    for await (const part of generate(begin, { ...sampling, ...limits })) {
      ids.push(...part.ids);
      await written(Math.min(1, 1 - (left - ids.length) / maxTokens));
    }
    signal?.throwIfAborted();
    texts.push(ids);
    left -= ids.length;
  }
  return texts;
}

/**
 * Fits a map for each of some exits, and chooses the one that promises most.
 * @param text what pieces of a text begin with that are not its beginning, beside the texts
 * @param prices of rounds on this device
 */
export async function calibrate(
  target: AdapterTarget,
  name: string,
  { texts, begin }: { texts: readonly (readonly number[])[]; begin: readonly number[] },
  { maxTokens, exitLayers, breath }: CalibrationRequest,
  prices: Pick<Controllers, "speedupOf">,
): Promise<Calibration> {
  const { forward } = target;
  const fitting = { ...target, base: await adapterBase(target), name: shortName(name) };
  const parts = pieces(texts, { maxTokens, length: Math.min(PIECE, forward.contextLength), begin });
  const { fits, tokens, testTokens } = await fitExits(fitting, parts, { exitLayers, breath });
  const exits = fits.map(({ exitLayer, plainAgreement, agreement, bytes }): CalibratedExit => {
    const speedup = prices.speedupOf({ exitLayer, layers: bytes / forward.layerBytes(0) }, agreement);
    return { exitLayer, plainAgreement, agreement, speedup };
  });
  const best = exits.reduce((best, { speedup }, i) => (speedup > exits[best]!.speedup ? i : best), 0);
  const { file: bytes, exitLayer } = fits[best]!;
  return { bytes, exitLayer, exits, tokens, testTokens };
}

/** What a model is called in a file that others may get: no folders of this machine. */
function shortName(name: string): string {
  const parts = name.split(/[/\\]/).filter(Boolean);
  const resolved = parts.indexOf("resolve");
  return resolved > 2 ? parts.slice(resolved - 2, resolved).join("/") : (parts.at(-1) ?? name);
}

/** What is asked of a comparison, checked. */
export interface AgreementRequest extends WantedText {
  text: string | readonly number[] | undefined;
  exitLayers: readonly number[];
  from: number;
  breath: (done: number) => Promise<void>;
}

/** @throws InputError for options that are out of range */
export function readAgreementOptions(options: ExitAgreementOptions, layers: number): AgreementRequest {
  const where = "exitAgreement";
  requireKnown(where, options, AGREEMENT_OPTIONS);
  const all = Array.from({ length: layers - 1 }, (_, i) => i + 1);
  const { text, maxTokens = DEFAULT_COMPARED, exitLayers = all, from = 0, seed = 0, onProgress, signal } = options;
  for (const layer of exitLayers) requireInteger(where, "exitLayers", layer, 1, layers - 1);
  const rest = breather(signal);
  return {
    ...{ text, exitLayers },
    maxTokens: requireInteger(where, "maxTokens", maxTokens, 1, Number.MAX_SAFE_INTEGER),
    seed: requireInteger(where, "seed", seed, 0, LAST_SEED),
    from: requireInteger(where, "from", from, 0, Number.MAX_SAFE_INTEGER),
    written: () => rest(() => onProgress?.(0)),
    breath: (done) => rest(() => onProgress?.(done), done >= 1),
  };
}

/** @param all texts of which positions from `from` on, over all of them, are compared */
export async function measureAgreement(
  { device, forward, table }: Pick<AdapterTarget, "device" | "forward" | "table">,
  all: readonly (readonly number[])[],
  { exitLayers, maxTokens, from, breath }: AgreementRequest,
): Promise<ExitAgreementResult> {
  const texts = pieces(all, { maxTokens, length: forward.contextLength });
  let before = 0;
  const compared = texts.map((ids) => {
    const text = { ids, from: Math.max(0, from - before) };
    before += ids.length;
    return text;
  });
  if (from >= before) {
    const expected = `a position of the text, 0 to ${before - 1}`;
    throw new InputError({ file: "exitAgreement", field: "from", found: String(from), expected });
  }
  const adapter = forward.exitAdapter;
  const measured = await exitAgreement(device, forward, table, compared, {
    ...{ exitLayers, adapters: adapter ? [adapter] : [] },
    breath: (done) => breath(done / before),
  });
  await breath(1);
  const shares = measured.map(({ exitLayer, agreed, positions }) => ({ exitLayer, agreement: agreed / positions }));
  const own = adapter && shares.pop();
  return { positions: before - from, exits: shares, ...(own && { adapter: own }) };
}
