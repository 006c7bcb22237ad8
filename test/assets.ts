/**
 * Oracles too large for the repository: a folder named by `LAYERLEAP_ASSETS`, by default `../shared/assets`. Tests that need
 * one are reported as skipped where it is absent: `test.skipIf(!hasAsset("families"))`.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";

const ASSETS = process.env.LAYERLEAP_ASSETS ?? join(import.meta.dirname, "../../shared/assets");

/** Path of an asset. */
export function asset(path: string): string {
  return join(ASSETS, path);
}

export function hasAsset(path: string): boolean {
  return existsSync(asset(path));
}
