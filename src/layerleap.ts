/** Everything an app begins with, under one name. */

import { listCached, removeCached } from "./cache/cached_models.ts";
import { load } from "./load.ts";
import { check } from "./session/check.ts";
import { pull } from "./session/pull.ts";

/**
 * What an app begins with; each is exported by its own name too.
 * - `load`: a model onto the GPU, to generate and to chat with.
 * - `check`: whether a model runs here, and in how much memory, before it is downloaded.
 * - `pull`, `listCached`, `removeCached`: downloads.
 */
export const LayerLeap = { load, check, pull, listCached, removeCached } as const;
