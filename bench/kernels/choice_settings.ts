/** Kernel choices as text: `fewRows=workgroup:8`, `manyRows=tiles+kv=f16`. */

import type { KernelChoice } from "../../src/kernels/choice.ts";
import { FEW_ROW_VARIANTS } from "../../src/kernels/few_row_variant.ts";
import type { KernelName } from "./names.ts";

/** A setting of another kernel than the device's own choice, by what it changes. */
export type Settings = Partial<KernelChoice>;

/** What each field of a choice can be, as it is written. */
const VALUES: { readonly [K in keyof KernelChoice]: Readonly<Record<string, KernelChoice[K]>> } = {
  fewRows: FEW_ROW_VARIANTS,
  manyRows: { tiles: "tiles", thread: "thread", int8: "int8" },
  attention: { threads: "threads", workgroup: "workgroup" },
  promptAttention: { threads: "threads", tiles: "tiles" },
  kv: { f32: "f32", f16: "f16" },
};

const GENERATED_PRODUCTS = ["qkv", "output", "gated", "down"] as const;
const PROMPT_PRODUCTS = ["prompt-qkv", "prompt-output", "prompt-gated", "prompt-down"] as const;

/** The kernels that each field of a choice is about. */
const ABOUT: { readonly [K in keyof KernelChoice]: readonly KernelName[] } = {
  fewRows: [...GENERATED_PRODUCTS, "head"],
  manyRows: PROMPT_PRODUCTS,
  attention: ["attention"],
  promptAttention: ["prompt-attention"],
  kv: ["qkv", "attention", "prompt-qkv", "prompt-attention"],
};

const FIELDS = Object.keys(VALUES) as (keyof KernelChoice)[];

/**
 * Reads settings joined by `+`.
 * @throws RangeError that says what was found and what was expected
 */
export function parseSettings(text: string): Settings {
  return Object.assign({}, ...text.split("+").map(parseSetting)) as Settings;
}

function parseSetting(text: string): Settings {
  const [name = "", value = ""] = text.split("=");
  const field = FIELDS.find((known) => known === name);
  if (!field || text.split("=").length !== 2) {
    throw new RangeError(`found ${text || "nothing"}, expected one of ${FIELDS.map((f) => `${f}=...`).join(", ")}`);
  }
  const values: Readonly<Record<string, KernelChoice[keyof KernelChoice]>> = VALUES[field];
  if (!Object.hasOwn(values, value)) {
    throw new RangeError(`found ${text}, expected ${field}= and one of ${Object.keys(values).join(", ")}`);
  }
  return { [field]: values[value] };
}

/** A choice as text, as `parseSettings` reads it. */
export function settingsText(settings: Settings): string {
  return FIELDS.flatMap((field) => {
    const wanted = JSON.stringify(settings[field]);
    const text = Object.entries(VALUES[field]).find(([, value]) => JSON.stringify(value) === wanted)?.[0];
    return text === undefined ? [] : [`${field}=${text}`];
  }).join("+");
}

/** The kernels on which two choices differ. */
export function kernelsBetween(a: KernelChoice, b: KernelChoice): ReadonlySet<KernelName> {
  return new Set(
    FIELDS.flatMap((field) => (JSON.stringify(a[field]) === JSON.stringify(b[field]) ? [] : ABOUT[field])),
  );
}
