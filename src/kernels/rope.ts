/** The rotations of RoPE, which the `qkv` matmul and the head norm read (shaders/matmul/qkv.wgsl). */

import type { RopeScaling, RopeSpec } from "../model/spec.ts";

/**
 * `[position][headDim / 2]` of (cos, sin); the pairs of a head past `rotaryDim / 2`, and all without a `rope`, are turned by
 * nothing.
 *
 * Inverse frequencies and angles are rounded to f32 as the Python implementations do, so that long contexts agree.
 * Source: RoFormer (Su et al. 2021), section 3.2.2.
 * @param contextLength positions; scalings that depend on the length of a text take it for that
 */
export function ropeRotations(contextLength: number, headDim: number, rope?: RopeSpec): Float32Array<ArrayBuffer> {
  const half = headDim / 2;
  const frequencies = rope ? inverseFrequencies(rope, contextLength) : new Float32Array(0);
  const factor = rope ? magnitude(rope.scaling) : 1;
  const rotations = new Float32Array(contextLength * half * 2);
  for (let position = 0; position < contextLength; position++) {
    for (let i = 0; i < half; i++) {
      const rotated = i < frequencies.length;
      const angle = rotated ? Math.fround(position * frequencies[i]!) : 0;
      rotations[(position * half + i) * 2] = Math.cos(angle) * (rotated ? factor : 1);
      rotations[(position * half + i) * 2 + 1] = Math.sin(angle) * (rotated ? factor : 1);
    }
  }
  return rotations;
}

/** The angle from one position to the next of each pair that is rotated: `[rotaryDim / 2]`. */
export function inverseFrequencies(rope: RopeSpec, contextLength: number): Float32Array<ArrayBuffer> {
  const { rotaryDim, scaling } = rope;
  const theta = scaling.type === "dynamic" ? dynamicTheta(rope, scaling, contextLength) : rope.ropeTheta;
  const plain = Array.from({ length: rotaryDim / 2 }, (_, i) => 1 / theta ** ((2 * i) / rotaryDim));
  return Float32Array.from(scaled(plain, rope, contextLength));
}

/** Factor of cos and sin: what a scaling does to the temperature of attention. */
function magnitude(scaling: RopeScaling): number {
  return scaling.type === "yarn" || scaling.type === "longrope" ? scaling.attentionFactor : 1;
}

function scaled(
  plain: readonly number[],
  { ropeTheta, rotaryDim, scaling }: RopeSpec,
  contextLength: number,
): number[] {
  switch (scaling.type) {
    case "default":
    case "dynamic":
      return [...plain];
    case "linear":
      return plain.map((frequency) => frequency / scaling.factor);
    case "llama3":
      return plain.map((frequency) => llama3Frequency(frequency, scaling));
    case "yarn":
      return yarnFrequencies(plain, ropeTheta, rotaryDim, scaling);
    case "longrope": {
      const long = contextLength > scaling.originalMaxPositionEmbeddings;
      const divisors = long ? scaling.longFactor : scaling.shortFactor;
      return plain.map((frequency, i) => frequency / divisors[i]!);
    }
  }
}

/** NTK-aware scaling: past the original context the base grows with the context, so that no frequency is lost. */
function dynamicTheta(
  { ropeTheta, rotaryDim }: RopeSpec,
  { factor, originalMaxPositionEmbeddings: original }: Extract<RopeScaling, { type: "dynamic" }>,
  contextLength: number,
): number {
  const stretch = (factor * Math.max(contextLength, original)) / original - (factor - 1);
  return ropeTheta * stretch ** (rotaryDim / (rotaryDim - 2));
}

/** Llama 3.1: long wavelengths are stretched, short ones kept, those between blended. (Transformers: `modeling_rope_utils.py`.) */
function llama3Frequency(frequency: number, scaling: Extract<RopeScaling, { type: "llama3" }>): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings: original } = scaling;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength < original / highFreqFactor) return frequency;
  if (wavelength > original / lowFreqFactor) return frequency / factor;
  const smooth = (original / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

/** YaRN (Peng et al. 2023, section 3.2): frequencies that turn often are kept, those that turn seldom are stretched. */
function yarnFrequencies(
  plain: readonly number[],
  ropeTheta: number,
  rotaryDim: number,
  scaling: Extract<RopeScaling, { type: "yarn" }>,
): number[] {
  const { factor, originalMaxPositionEmbeddings: original, betaFast, betaSlow, truncate } = scaling;
  /** The element whose frequency turns this often over the original context. */
  const element = (turns: number) =>
    (rotaryDim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(ropeTheta));
  const [low, high] = [element(betaFast), element(betaSlow)];
  const begin = Math.max(truncate ? Math.floor(low) : low, 0);
  const end = Math.min(truncate ? Math.ceil(high) : high, rotaryDim - 1);
  const span = end === begin ? 0.001 : end - begin;
  return plain.map((frequency, i) => {
    const stretched = Math.min(1, Math.max(0, (i - begin) / span));
    return (frequency / factor) * stretched + frequency * (1 - stretched);
  });
}
