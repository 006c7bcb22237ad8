/**
 * Fits a linear exit adapter to a model: hidden states of a text are collected, a map is fitted for each exit layer, and all are
 * tried on other text.
 */

import { InputError } from "../errors.ts";
import type { ExitAdapter } from "../forward/exit_adapter.ts";
import type { Forward } from "../forward/forward.ts";
import type { RowTable } from "../forward/row_table.ts";
import type { Device } from "../gpu/device.ts";
import { blobSource } from "../sources/blob_source.ts";
import type { Holding } from "../weights/dtype.ts";
import { type AdapterBase, encodeLinearAdapter, type LinearAdapter, openExitAdapter } from "../weights/exit_adapter.ts";
import { planExitAdapter, uploadExitAdapter } from "../weights/exit_adapter_upload.ts";
import { exitAgreement } from "./exit_agreement.ts";
import { PairSumsCollector } from "./pair_sums.ts";
import { type AffineMap, type Breath, fitRidge, type PairSums } from "./ridge.ts";

/**
 * Shares of the Gram matrix's mean diagonal that are tried as lambda. For SmolLM2-135M the first was best (18,432 tokens of stories and
 * books); a model that was trained for early exit is best left as it is, which the last comes near.
 */
const RIDGES = [1e-2, 1e-1, 1, 10];
/** Of what maps are fitted on, at the end: what lambda is chosen by. */
const CHOICE_SHARE = 0.1;
const MOST_CHOICE_TOKENS = 256;
/** Of a text, at the end: what maps are tried on. */
const TEST_SHARE = 0.2;
const MOST_TEST_TOKENS = 1024;
/** Fewer tokens tell nothing of any text but themselves. */
const LEAST_TOKENS = 128;
const OWNER = "fitted adapters";

/** Ids of texts. */
type Texts = readonly (readonly number[])[];

/** What is calibrated. */
export interface FitTarget {
  device: Device;
  forward: Forward;
  table: RowTable;
  base: AdapterBase;
  holding: Holding;
  /** What the model is called. */
  name: string;
}

/** `collect`: the text goes through the model; `solve`: maps are fitted; `test`: they are tried on the rest of the text. */
export type FitPhase = "collect" | "solve" | "test";

export interface FitOptions {
  /** Ascending. */
  exitLayers: readonly number[];
  /** Called all the time, with the share of the phase that is done; what it throws ends the work. */
  breath: (phase: FitPhase, done: number) => Promise<void>;
}

/** A fitted map. */
export interface Fit {
  exitLayer: number;
  /** Share of the test's positions where the exit chooses what the whole model does: by itself, and with the map. */
  plainAgreement: number;
  agreement: number;
  /** The adapter's file, and bytes of it on the GPU. */
  file: Uint8Array<ArrayBuffer>;
  bytes: number;
}

export interface Fits {
  fits: Fit[];
  /** Tokens that maps were fitted on, and tried on. */
  tokens: number;
  testTokens: number;
}

/**
 * @param texts each at most `contextLength` ids
 * @throws InputError for too little text; GpuMemoryError | GpuError; what `breath` throws. Nothing of it stays on the GPU.
 */
export async function fitExits(target: FitTarget, texts: Texts, { exitLayers, breath }: FitOptions): Promise<Fits> {
  const { device } = target;
  const [rest, tested] = split(texts, TEST_SHARE, MOST_TEST_TOKENS);
  const [fitted, choosing] = split(rest, CHOICE_SHARE, MOST_CHOICE_TOKENS);
  const tokens = countOf(fitted);
  const testTokens = countOf(tested);
  if (countOf(texts) < LEAST_TOKENS) {
    const found = `${countOf(texts)} tokens`;
    throw new InputError({ file: "calibrate", field: "text", found, expected: `at least ${LEAST_TOKENS}` });
  }
  const sums = await collect(target, fitted, exitLayers, (done) => breath("collect", done / tokens));
  const ridge = await bestRidge(target, choosing, sums[sums.length >> 1]!, tokens, (done) => breath("solve", done / 2));
  const best: LinearAdapter[] = [];
  for (const [i, { exitLayer, sums: pairs }] of sums.entries()) {
    const done = (share: number) => breath("solve", (1 + (i + share) / sums.length) / 2);
    best.push({ exitLayer, tokens, agreement: 0, ...(await mapOf(pairs, ridge, done)) });
  }
  const { plain, adapted, bytes } = await compare(target, tested, best, (done) => breath("test", done / testTokens));
  await breath("test", 1);
  const fits = best.map((map, i): Fit => {
    const agreement = adapted[i]!;
    const file = encodeLinearAdapter({ ...map, agreement }, target.base, target.name);
    return { exitLayer: map.exitLayer, plainAgreement: plain[i]!, agreement, file, bytes: bytes[i]! };
  });
  device.check();
  return { fits, tokens, testTokens };
}

/** @throws InputError for hidden states that no map can be fitted to */
async function mapOf(pairs: PairSums, ridge: number, breath: Breath): Promise<AffineMap> {
  try {
    return await fitRidge(pairs, ridge, breath);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    const [found, expected] = ["hidden states that do not vary, or are no numbers", "a text of different tokens"];
    throw new InputError({ file: "calibrate", field: "text", found, expected });
  }
}

/** The lambda whose map agrees most often on text that it was not fitted on, at one exit: how much a text tells is much the same at all. */
async function bestRidge(
  target: FitTarget,
  texts: Texts,
  { exitLayer, sums }: { exitLayer: number; sums: PairSums },
  tokens: number,
  breath: Breath,
): Promise<number> {
  const maps: LinearAdapter[] = [];
  for (const [r, ridge] of RIDGES.entries()) {
    const map = await mapOf(sums, ridge, (done) => breath((r + done) / (RIDGES.length + 1)));
    maps.push({ exitLayer, tokens, agreement: 0, ...map });
  }
  const { adapted } = await compare(target, texts, maps, () => breath(RIDGES.length / (RIDGES.length + 1)));
  return RIDGES[adapted.indexOf(Math.max(...adapted))]!;
}

/** Shares of a text's positions where exits choose what the whole model does: by themselves, and with these maps. */
async function compare(
  target: FitTarget,
  texts: Texts,
  maps: readonly LinearAdapter[],
  breath: (done: number) => Promise<void>,
): Promise<{ plain: number[]; adapted: number[]; bytes: number[] }> {
  const { device, forward, table, base, name } = target;
  const exitLayers = [...new Set(maps.map(({ exitLayer }) => exitLayer))];
  try {
    const adapters: ExitAdapter[] = [];
    for (const map of maps) adapters.push(await placed(target, encodeLinearAdapter(map, base, name)));
    const compared = texts.map((ids) => ({ ids }));
    const agreements = await exitAgreement(device, forward, table, compared, { exitLayers, adapters, breath });
    const shares = agreements.map(({ agreed, positions }) => agreed / Math.max(1, positions));
    const bytes = adapters.map((adapter) => adapter.bytes);
    return { plain: shares.slice(0, exitLayers.length), adapted: shares.slice(exitLayers.length), bytes };
  } finally {
    device.ledger.releaseOwner(OWNER);
  }
}

async function collect(
  { device, forward, table }: FitTarget,
  texts: Texts,
  exitLayers: readonly number[],
  told: (done: number) => Promise<void>,
): Promise<{ exitLayer: number; sums: PairSums }[]> {
  const collector = await PairSumsCollector.create(device, forward, table, exitLayers);
  try {
    let before = 0;
    for (const ids of texts) {
      await collector.add(ids, (done) => told(before + done));
      before += ids.length;
    }
    return await collector.read();
  } finally {
    collector.dispose();
  }
}

/** A fitted adapter on the GPU, not loaded: as its file would be. */
async function placed({ device, forward, base, holding }: FitTarget, bytes: Uint8Array<ArrayBuffer>) {
  const file = await openExitAdapter(blobSource("fitted adapter", new Blob([bytes])), base);
  const plan = planExitAdapter(file, holding, device.ledger.bindableBytes);
  const weights = await uploadExitAdapter(device, OWNER, file, plan);
  return await device.allocating(file.name, 0, () => forward.makeExitAdapter(weights, OWNER));
}

/** Texts, and a share of them at the end, cut where need be. */
function split(texts: Texts, share: number, most: number): [Texts, Texts] {
  let wanted = Math.min(most, Math.floor(countOf(texts) * share));
  const first = [...texts];
  const last: (readonly number[])[] = [];
  while (wanted > 0) {
    const text = first.pop()!;
    const taken = Math.min(wanted, text.length);
    last.unshift(text.slice(text.length - taken));
    if (taken < text.length) first.push(text.slice(0, text.length - taken));
    wanted -= taken;
  }
  return [first, last];
}

function countOf(texts: Texts): number {
  return texts.reduce((sum, { length }) => sum + length, 0);
}
