/** Types of the public surface: how early exits of a model are fitted and compared. */

/** How an exit adapter is fitted to a model. */
export interface CalibrateOptions {
  /**
   * What to fit it on: text like that which will be generated. Default: text that the model writes itself.
   */
  text?: string | readonly string[];
  /** Layer to exit after, 1 to layers - 1. Default: the one of some that promises most for its price. */
  exitLayer?: number;
  /** Tokens of the text that are used at most, a fifth of them to try the maps on. Default: 4,096. */
  maxTokens?: number;
  /** Seed of the text that the model writes. Default: 0. */
  seed?: number;
  onProgress?: (progress: CalibrationProgress) => void;
  signal?: AbortSignal;
}

/**
 * What a calibration is at. `write`: the model writes the text; `collect`: the text goes through the model; `solve`: maps are fitted;
 * `test`: they are tried on the rest of the text.
 */
export interface CalibrationProgress {
  phase: "write" | "collect" | "solve" | "test";
  /** Share of the phase that is done, 0 to 1. */
  done: number;
}

/** An exit layer that was compared. */
export interface CalibratedExit {
  exitLayer: number;
  /** Share of the test's positions where the exit chooses what the whole model does: by itself, and with the fitted map. */
  plainAgreement: number;
  agreement: number;
  /** Tokens of plain decoding in the time of one, at best, by what rounds cost here or, where nothing was timed, by weights. */
  speedup: number;
}

/** A fitted exit adapter. */
export interface Calibration {
  /** The adapter's file, for `loadExitAdapter` or the option `exitAdapter` of `load`. It is loaded already. */
  bytes: Uint8Array<ArrayBuffer>;
  exitLayer: number;
  exits: CalibratedExit[];
  /** Tokens that maps were fitted on, and tried on. */
  tokens: number;
  testTokens: number;
}

export interface ExitAgreementOptions {
  /** A text, or ids that are taken as they are. Default: text that the model writes itself. */
  text?: string | readonly number[];
  /** Tokens of it that are used at most. Default: 256. */
  maxTokens?: number;
  /** Exit layers, ascending. Default: all. */
  exitLayers?: readonly number[];
  /** Position from which on exits are compared. Default: 0. */
  from?: number;
  /** Seed of the text that the model writes. Default: 0. */
  seed?: number;
  /** Told the share that is done, 0 to 1. */
  onProgress?: (done: number) => void;
  signal?: AbortSignal;
}

/** How often exits choose what the whole model does, at the positions of a text. */
export interface ExitAgreementResult {
  positions: number;
  exits: { exitLayer: number; agreement: number }[];
  /** Of the exit adapter, where one is loaded. */
  adapter?: { exitLayer: number; agreement: number };
}
