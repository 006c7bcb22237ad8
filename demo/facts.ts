/** The lines that say what runs on what. */

import type { DeviceInfo, Model } from "../src/index.ts";
import { byId } from "./elements.ts";
import { bytes, compact, counted } from "./format.ts";

export function showFacts(model: Model): void {
  byId("device", HTMLElement).textContent = deviceLine(model.device);
  byId("model", HTMLElement).textContent = modelLine(model);
  byId("facts", HTMLElement).hidden = false;
  byId("software", HTMLElement).hidden = !model.device.software;
}

/** Vendor, architecture and backend; browsers leave some of them empty. */
function deviceLine({ vendor, architecture, description, backend }: DeviceInfo): string {
  const names = [vendor, architecture].filter(Boolean);
  if (names.length === 0) names.push(description || "unnamed adapter");
  return [...names, backend === "webgpu" ? "WebGPU" : backend].join(" · ");
}

function modelLine(model: Model): string {
  return [
    folderName(model.name),
    `${compact(model.parameters)} parameters`,
    counted(model.spec.layers, "layer"),
    `${bytes(model.memory().bytes)} of GPU memory`,
  ].join(" · ");
}

/** The last part of a path or an address. */
function folderName(location: string): string {
  return location.split("/").filter(Boolean).at(-1) ?? location;
}
