/** The sampling options of a caller: checked, and completed with what they leave out. */

import { InputError } from "../errors.ts";
import type { SamplingSettings } from "../kernels/sampling.ts";
import type { SamplingOptions } from "../types.ts";
import { requireInteger, requireNumber } from "./options.ts";

/** Below it, scores would leave f32's range; 0 stands for the limit. */
const LEAST_TEMPERATURE = 0.001;
const MOST_TEMPERATURE = 100;
/** The largest penalty or bias that is a number a logit can be changed by. */
const MOST_BIAS = 1e6;

const FILTERS = ["topK", "topP", "minP", "typicalP", "seed"] as const;

export const SAMPLING_OPTIONS: readonly (keyof SamplingOptions)[] = [
  "temperature",
  "repetitionPenalty",
  "frequencyPenalty",
  "presencePenalty",
  "logitBias",
  ...FILTERS,
];

/** @throws InputError naming the option, what was found and what was expected */
export function readSampling(where: string, options: SamplingOptions, vocabSize: number): SamplingSettings {
  const { temperature = FILTERS.some((name) => options[name] !== undefined) ? 1 : 0 } = options;
  const number = (name: keyof SamplingOptions, unset: number, least: number, most: number) =>
    requireNumber(where, name, (options[name] as number | undefined) ?? unset, least, most);
  const share = (name: "topP" | "typicalP") => {
    const value = number(name, 1, 0, 1);
    if (value > 0) return value;
    throw new InputError({ file: where, field: name, found: "0", expected: "a number above 0, up to 1" });
  };
  return {
    temperature: readTemperature(where, temperature),
    topK: Math.min(vocabSize, requireInteger(where, "topK", options.topK ?? 0, 0, Number.MAX_SAFE_INTEGER)),
    topP: share("topP"),
    minP: number("minP", 0, 0, 1),
    typicalP: share("typicalP"),
    repetitionPenalty: number("repetitionPenalty", 1, 0.01, 100),
    frequencyPenalty: number("frequencyPenalty", 0, -100, 100),
    presencePenalty: number("presencePenalty", 0, -100, 100),
    logitBias: readBias(where, options.logitBias, vocabSize),
    seed: requireInteger(where, "seed", options.seed ?? randomSeed(), 0, Number.MAX_SAFE_INTEGER),
  };
}

function readTemperature(where: string, temperature: number): number {
  if (temperature === 0 || (temperature >= LEAST_TEMPERATURE && temperature <= MOST_TEMPERATURE)) return temperature;
  const expected = `0, or a number from ${LEAST_TEMPERATURE} to ${MOST_TEMPERATURE}`;
  throw new InputError({ file: where, field: "temperature", found: String(temperature), expected });
}

function readBias(where: string, bias: SamplingOptions["logitBias"], vocabSize: number): ReadonlyMap<number, number> {
  const entries =
    bias instanceof Map ? [...bias] : Object.entries(bias ?? {}).map(([id, value]) => [Number(id), value]);
  const biases = new Map(
    entries.map(([id, value]) => {
      requireInteger(where, "id of logitBias", id, 0, vocabSize - 1);
      if (value !== Number.NEGATIVE_INFINITY) requireNumber(where, `logitBias[${id}]`, value, -MOST_BIAS, MOST_BIAS);
      return [id, value];
    }),
  );
  if ([...biases.values()].filter((value) => value === Number.NEGATIVE_INFINITY).length < vocabSize) return biases;
  throw new InputError({ file: where, field: "logitBias", found: "a ban of every id", expected: "one that is left" });
}

/** A number that differs from generation to generation. */
function randomSeed(): number {
  const [high = 0, low = 0] = crypto.getRandomValues(new Uint32Array(2));
  return (high % 2 ** 21) * 2 ** 32 + low;
}
