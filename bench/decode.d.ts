/**
 * How much drafting gains: plain decoding and drafting plans on the same prompt, run in turn.
 *
 * Every repetition runs plain decoding and then each plan, and a plan's speed-up is the median of its ratios to the plain
 * run of the same repetition: what else the machine does falls on both. The counts (tokens a round, dispatches, bytes of
 * weights) do not depend on the machine; they say what a GPU, which is bound by bytes and launches, would gain.
 */
import type { Model } from "../src/index.ts";
export interface DecodePlan {
    exitLayer: number;
    draftLength: number;
}
export interface DecodeBenchOptions {
    prompt: string;
    maxTokens: number;
    repetitions: number;
    plans: readonly DecodePlan[];
}
/** One way of decoding. Plain decoding has no plan. */
export interface DecodeRow {
    plan: DecodePlan | undefined;
    tokens: number;
    rounds: number;
    tokensPerRound: number;
    acceptanceRate: number;
    dispatchesPerToken: number;
    readbackBytesPerRound: number;
    /** Bytes of weights read a token, counted from the shapes. */
    weightBytesPerToken: number;
    /** Median milliseconds a token. */
    msPerToken: number;
    /** Median of plain time / this time, pair by pair; 1 for plain decoding. */
    speedup: number;
    /** Smallest and largest of those ratios. */
    speedupRange: [number, number];
    /** Plain weight bytes / these weight bytes: the speed-up where only the bytes of the weights count. */
    speedupByBytes: number;
    /** The ids equal plain decoding's. */
    idsEqual: boolean;
}
/** Runs the comparison; `onRepetition` hears of each repetition that is done. */
export declare function benchDecode(model: Model, { prompt, maxTokens, repetitions, plans }: DecodeBenchOptions, onRepetition?: (done: number) => void): Promise<DecodeRow[]>;
