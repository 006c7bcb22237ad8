/** Patience for tests: as many tries, hardly a wait, and a server that is silent for a moment is given up. */

import { PATIENT, type RetryPolicy } from "../../src/sources/retry.ts";

export const QUICK: RetryPolicy = { ...PATIENT, firstWaitMs: 1, longestWaitMs: 2000, silenceMs: 500 };
