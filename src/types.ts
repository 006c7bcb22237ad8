/** Types of the public surface. */

export type * from "./types/calibration.ts";
export type * from "./types/generation.ts";
export type * from "./types/loading.ts";
