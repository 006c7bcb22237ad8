/**
 * What the page's address asks for: `?model=hf:owner/name&dtype=q4` another model than its own, `&endpoint=` another hub to
 * find it at, `&autorun=0` not to start by itself.
 */

import { DTYPE_CHOICES, type DtypeChoice } from "./dtypes.ts";
import { HUB, typedModel, type WantedModel } from "./wanted_model.ts";

export interface Address {
  model: WantedModel | undefined;
  /** As it was written, for the field. */
  modelText: string;
  dtype: DtypeChoice;
  hub: URL;
  autorun: boolean;
}

export function readAddress(query: string): Address {
  const asked = new URLSearchParams(query);
  const hub = hubUrl(asked.get("endpoint"));
  const modelText = asked.get("model") ?? "";
  return {
    ...{ hub, modelText },
    model: modelText === "" ? undefined : typedModel(modelText, hub),
    dtype: DTYPE_CHOICES.find((dtype) => dtype === asked.get("dtype")) ?? "auto",
    autorun: asked.get("autorun") !== "0",
  };
}

function hubUrl(endpoint: string | null): URL {
  return endpoint !== null && /^https?:/.test(endpoint) && URL.canParse(endpoint) ? new URL(endpoint) : new URL(HUB);
}
