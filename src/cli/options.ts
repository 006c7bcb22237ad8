/** Parsers of option values. Each throws what Commander turns into a usage error that names the option. */

import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { InvalidArgumentError } from "commander";
import type { ControllerName, KernelOptions, SourceOptions } from "../index.ts";
import { FailureError } from "./report.ts";

const GGUF = /\.gguf$/i;

/** `owner/name`, which may be a path as well. */
const REPOSITORY = /^\w[\w.-]*\/\w[\w.-]*$/;

const NUMBER = /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i;

/** `1,2,3` as token ids or positions. */
export function integers(value: string): number[] {
  return value.split(",").map((item) => {
    if (!isInteger(item)) {
      throw new InvalidArgumentError(`Expected whole numbers with commas between them, as in 1,2,3.`);
    }
    return Number(item);
  });
}

/** All of the library; named here, since help needs no engine. */
export const CONTROLLERS: readonly ControllerName[] = [
  "fixed",
  "heuristic",
  "confidence",
  "del",
  "thompson",
  "governor",
];

/** `del,governor` as names of controllers; `none` is none of them. */
export function controllerList(value: string): ControllerName[] {
  if (value.trim() === "none") return [];
  return value.split(",").map((item) => {
    const name = CONTROLLERS.find((each) => each === item.trim());
    if (name) return name;
    throw new InvalidArgumentError(`Expected names with commas between them, of ${CONTROLLERS.join(", ")}, or none.`);
  });
}

/** `fewRows=thread,kv=f16` as kernel variants. Which there are is for `load` to say. */
export function kernelOptions(value: string): KernelOptions {
  return Object.fromEntries(
    value.split(",").map((item) => {
      const [name, variant, ...rest] = item.split("=");
      if (!name || !variant || rest.length > 0) {
        throw new InvalidArgumentError("Expected name=variant with commas between them, as in fewRows=thread,kv=f16.");
      }
      return [name.trim(), variant.trim()];
    }),
  );
}

/** A whole number above 0. */
export function positiveInteger(value: string): number {
  if (!isInteger(value) || Number(value) === 0) throw new InvalidArgumentError("Expected a whole number above 0.");
  return Number(value);
}

/** A whole number, 0 included. */
export function wholeNumber(value: string): number {
  if (!isInteger(value)) throw new InvalidArgumentError("Expected a whole number, 0 or more.");
  return Number(value);
}

/** Which range it may have is for the library to say. */
export function number(value: string): number {
  if (!NUMBER.test(value)) throw new InvalidArgumentError("Expected a number, as in 0.8.");
  return Number(value);
}

export function seconds(value: string): number {
  if (!NUMBER.test(value) || Number(value) < 0) throw new InvalidArgumentError("Expected seconds, as in 10 or 0.5.");
  return Number(value);
}

/** One more text of an option that may be given several times. */
export function texts(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

/** `261=-1.5` or `261=-inf`, one more of an option that may be given several times; the last one of an id holds. */
export function biases(value: string, before: ReadonlyMap<number, number> = new Map()): Map<number, number> {
  const [id = "", bias = "", ...rest] = value.split("=");
  if (!isInteger(id) || rest.length > 0 || !(NUMBER.test(bias) || bias === "-inf")) {
    throw new InvalidArgumentError("Expected a token id, = and a number or -inf, as in 261=-1.5.");
  }
  return new Map([...before, [Number(id), bias === "-inf" ? Number.NEGATIVE_INFINITY : Number(bias)]]);
}

function isInteger(text: string): boolean {
  return /^\s*\d+\s*$/.test(text) && Number.isSafeInteger(Number(text));
}

/**
 * What to load for `--model`: a name on the hub, a folder or a .gguf file, or a URL of one. Undefined stands for the embedded
 * model.
 * @throws FailureError when there is nothing of that path, or a file that is no model by itself
 */
export function modelSource(model: string | undefined): string | URL | undefined {
  const remote = model === undefined ? model : remoteSource("--model", model);
  if (model === undefined || remote !== undefined) return remote;
  if (!existsSync(model)) {
    const kind = GGUF.test(model) ? "file" : "folder";
    const hub = REPOSITORY.test(model) ? `, or write hf:${model} for a model on the hub` : "";
    throw new FailureError(`--model ${model}: there is no ${kind} ${resolve(model)}: check the path${hub}`);
  }
  if (!statSync(model).isDirectory() && !GGUF.test(model)) {
    throw new FailureError(`--model ${model}: this is a file: give the folder that holds config.json, or a .gguf file`);
  }
  return model;
}

/**
 * Where the adapter of `--exit-adapter` is: a file or a folder, a name on the hub, or a URL.
 * @throws FailureError when there is nothing of that path
 */
export function adapterSource(adapter: string): string | URL {
  const remote = remoteSource("--exit-adapter", adapter);
  if (remote !== undefined) return remote;
  if (existsSync(adapter)) return adapter;
  throw new FailureError(`--exit-adapter ${adapter}: there is no file ${resolve(adapter)}: check the path`);
}

/** A name on the hub, or a URL; undefined for a path. @throws FailureError for a URL of another kind */
function remoteSource(option: string, source: string): string | URL | undefined {
  if (/^hf:/i.test(source)) return source;
  if (/^(https?|file):\/\//i.test(source) && URL.canParse(source)) return new URL(source);
  const [protocol] = /^\w+:\/\//.exec(source) ?? [];
  if (!protocol) return undefined;
  throw new FailureError(`${option} ${source}: ${protocol} is not read: give an http or https URL, or a path`);
}

export interface SourceFlags {
  endpoint?: string;
}

/** How models on servers are reached: the hub's access token comes from the environment, where no other user sees it. */
export function sourceOptions({ endpoint }: SourceFlags): SourceOptions {
  return { token: process.env.HF_TOKEN || undefined, endpoint };
}
