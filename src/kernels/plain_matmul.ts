/**
 * What a matmul kernel must make of a probe, in plain arithmetic on the host (float64): the arbiter of the self-check and of
 * the tests.
 */

import type { Activation } from "../model/spec.ts";
import { cacheNumbers } from "./kv_format.ts";
import { isNormed, streamStride } from "./matmul_form.ts";
import type { ProbeData } from "./matmul_probe.ts";
import { probePosition } from "./matmul_probe.ts";
import { paddedSize } from "./weight_format.ts";

/** A number that an output must hold, and the size of the terms it was summed from: what its error is a fraction of. */
export interface Expected {
  value: number;
  size: number;
}

/** The products of a row, before the form does anything with them: `[columns]`. */
export function plainProducts(data: ProbeData, row: number): Expected[] {
  const { values, biases, input, inputStride, size, kind } = data;
  const { inputSize, epsilon } = size;
  const stream = input.subarray(row * inputStride, row * inputStride + inputSize);
  const normed = isNormed(kind);
  const begin = row * inputStride + (normed ? paddedSize(inputSize) : 0);
  const x = input.subarray(begin, begin + inputSize);
  const squares = stream.reduce((sum, v) => sum + v * v, 0);
  const norm = normed ? 1 / Math.sqrt(squares / inputSize + epsilon) : 1;
  return Array.from({ length: values.length / inputSize }, (_, column) => {
    let value = 0;
    let terms = 0;
    for (let k = 0; k < inputSize; k++) {
      const term = values[column * inputSize + k]! * x[k]!;
      value += term;
      terms += Math.abs(term);
    }
    const bias = biases[column] ?? 0;
    return { value: value * norm + bias, size: terms * norm + Math.abs(bias) };
  });
}

/** What becomes of a gate. */
export const ACTIVATIONS: Readonly<Record<Activation, (x: number) => number>> = {
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu_tanh: (x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
};

/** What `store` makes of a product. */
function capped({ value, size }: Expected, factor: number, softCap?: number): Expected {
  const scaled = { value: value * factor, size: size * Math.abs(factor) };
  if (!softCap) return scaled;
  return { value: softCap * Math.tanh(scaled.value / softCap), size: scaled.size + softCap };
}

/** What the outputs of a form must hold for a row, by the name of the buffer and the place in it. */
export function plainOutputs(data: ProbeData, row: number): { name: string; at: number; expected: Expected }[] {
  const { kind, size, before, normWeight, rotations } = data;
  const { outputs, resultStride = outputs, resultOffset = 0, factor = 1, softCap } = size;
  const begin = row * resultStride + resultOffset;
  const products = plainProducts(data, row);
  switch (kind.form) {
    case "store":
      return products.map((product, n) => ({
        name: "output",
        at: begin + n,
        expected: capped(product, factor, softCap),
      }));
    case "add": {
      const stride = streamStride(outputs);
      const held = new Float32Array(before.stream!.buffer);
      return products.flatMap(({ value, size: terms }, n) => {
        const at = row * stride + n;
        const sum = { value: held[at]! + factor * value, size: Math.abs(held[at]!) + Math.abs(factor) * terms };
        const gain = normWeight[n]!;
        const gained = { value: sum.value * gain, size: sum.size * Math.abs(gain) };
        return [
          { name: "stream", at, expected: sum },
          { name: "stream", at: at + paddedSize(outputs), expected: gained },
        ];
      });
    }
    case "gated":
      return Array.from({ length: outputs }, (_, n) => {
        const [gate, up] = [products[n]!, products[n + outputs]!];
        const active = ACTIVATIONS[kind.activation ?? "silu"](gate.value);
        // Neither activation changes more than 1.2 times as fast as its argument.
        const terms = Math.abs(active) * up.size + 1.2 * gate.size * Math.abs(up.value) + Math.abs(active * up.value);
        return { name: "output", at: begin + n, expected: { value: active * up.value, size: terms } };
      });
    case "qkv":
      return plainQkv(data, row, products, rotations);
    case "headArgmax":
      return []; // which ids are candidates is the kernel's choice: the tests look at them
  }
}

function plainQkv(data: ProbeData, row: number, products: readonly Expected[], rotations: Float32Array) {
  const { heads, kvHeads, headDim } = data.size.headShape;
  const half = headDim / 2;
  const position = probePosition(row);
  return Array.from({ length: heads + 2 * kvHeads }, (_, head) => head).flatMap((head) =>
    Array.from({ length: half }, (_, pair) => pair).flatMap((pair) => {
      const x = products[head * headDim + pair]!;
      const y = products[head * headDim + pair + half]!;
      const cos = rotations[(position * half + pair) * 2]!;
      const sin = rotations[(position * half + pair) * 2 + 1]!;
      const isValue = head >= heads + kvHeads;
      const size = isValue ? x.size : Math.abs(cos) * x.size + Math.abs(sin) * y.size;
      const sizeY = isValue ? y.size : Math.abs(cos) * y.size + Math.abs(sin) * x.size;
      const first = { value: isValue ? x.value : x.value * cos - y.value * sin, size };
      const second = { value: isValue ? y.value : y.value * cos + x.value * sin, size: sizeY };
      const name = isValue ? "values" : head < heads ? "queries" : "keys";
      const kvHead = (head - heads) % kvHeads;
      const begin = (head < heads ? row * heads + head : position * kvHeads + kvHead) * headDim;
      return [
        { name, at: begin + pair, expected: first },
        { name, at: begin + pair + half, expected: second },
      ];
    }),
  );
}

/** An output buffer as numbers, in the order of `plainOutputs`. */
export function outputNumbers(data: ProbeData, name: string, words: Uint32Array<ArrayBuffer>): Float32Array {
  const isCache = name === "keys" || name === "values";
  return cacheNumbers((isCache && data.kind.kv) || "f32", data.size.headShape.headDim, words);
}
