/** The lines that say what runs on what. */

import type { DeviceInfo, Model } from "../src/index.ts";
import { dtypeName } from "./dtypes.ts";
import { byId } from "./elements.ts";
import { bytes, compact, counted } from "./format.ts";

/** @param label what the page calls the model */
export function showFacts(model: Model, label: string): void {
  byId("device", HTMLElement).textContent = deviceLine(model.device);
  byId("model", HTMLElement).textContent = modelLine(model, label);
  byId("facts", HTMLElement).hidden = false;
  byId("software", HTMLElement).hidden = !model.device.software;
}

/** There is no model. */
export function hideFacts(): void {
  byId("facts", HTMLElement).hidden = true;
}

/** Vendor, architecture and backend; browsers leave some of them empty. */
function deviceLine({ vendor, architecture, description, backend }: DeviceInfo): string {
  const names = [vendor, architecture].filter(Boolean);
  if (names.length === 0) names.push(description || "unnamed adapter");
  return [...names, backend === "webgpu" ? "WebGPU" : backend].join(" · ");
}

function modelLine(model: Model, label: string): string {
  return [
    label,
    `${compact(model.parameters)} parameters`,
    counted(model.spec.layers, "layer"),
    dtypeName(model.dtype),
    `${bytes(model.memory().bytes)} of GPU memory`,
  ].join(" · ");
}
