import { afterEach, describe, expect, test, vi } from "vitest";
import { FewRowMatmul } from "../../src/kernels/few_row_matmul.ts";
import { type FewRowVariant, fewRowGroupOf, THREAD_VARIANT } from "../../src/kernels/few_row_variant.ts";
import type { MatmulKind } from "../../src/kernels/matmul_form.ts";
import { type ProbeData, probeData } from "../../src/kernels/matmul_probe.ts";
import { outputNumbers, plainOutputs, plainProducts } from "../../src/kernels/plain_matmul.ts";
import { checkData, computesRight, errorBound, judge, type Verdict } from "../../src/kernels/self_check.ts";
import { bits, openBench, type Words } from "./harness.ts";
import { miscompileAll } from "./miscompile.ts";

const bench = openBench();

const Q4 = { type: "q4", codes: "minimum", block: 32, scale: "f16" } as const;
const SHARED: FewRowVariant = { kind: "workgroup", slices: 16 };

/** What the check says of the one-row kernel of a kind. */
async function verdictOn(kind: MatmulKind, variant = THREAD_VARIANT): Promise<Verdict> {
  const matmul = new FewRowMatmul(bench.device, kind, variant);
  await matmul.kernel(1).prepare();
  const data = checkData(kind);
  return computesRight(bench.device, {
    data,
    shape: matmul.shape(data.size),
    record: (recorder, buffers, rows) => matmul.record(recorder, matmul.bind(buffers, data.size.outputs), rows),
    groupOf: (output) => fewRowGroupOf(kind.form, output, data.size.outputs, variant),
  });
}

afterEach(() => vi.restoreAllMocks());

describe("the self-check, on kernels", () => {
  test.each([
    { form: "store", format: { type: "f16" } },
    { form: "add", format: Q4 },
    { form: "gated", format: { type: "f32" } },
    { form: "qkv", format: { type: "f16" }, kv: "f32" },
    { form: "qkv", format: Q4, kv: "f16" },
    { form: "headArgmax", format: Q4 },
  ] as const)("a right one passes, with errors well below the bound: $form, $format.type, KV $kv", async (kind) => {
    const { ok, worst, where } = await verdictOn(kind);
    expect(ok, where).toBe(true);
    // A bound that says nothing would let anything pass. f16's own roundings come close to theirs.
    expect(worst).toBeGreaterThan("kv" in kind && kind.kv === "f16" ? 0.1 : 1e-5);
    expect(worst).toBeLessThan("kv" in kind && kind.kv === "f16" ? 1 : 0.1);
  });

  test.each([
    { type: "f16" },
    Q4,
    { type: "q8", codes: "minimum", block: 16, scale: "f32" },
    { type: "q4", codes: "symmetric", block: 16, scale: "f16" },
    { type: "q4", codes: "codebook", block: 32, scale: "f16", codebook: Array.from({ length: 16 }, (_, i) => i * i) },
  ] as const)("each output of a head is the best of a row of the probe, $type $codes", (format) => {
    const data = checkData({ form: "headArgmax", format });
    const winners = Array.from({ length: data.rows }, (_, row) => {
      const logits = plainProducts(data, row).map(({ value }) => value);
      return logits.indexOf(Math.max(...logits));
    });
    expect(new Set(winners).size).toBe(data.size.outputs);
  });

  test("a right head whose ids are spread over several workgroups passes", async () => {
    const { ok, where } = await verdictOn({ form: "headArgmax", format: { type: "f32" } }, SHARED);
    expect(ok, where).toBe(true);
  });

  test.each([
    ["the last step of K is lost", "store", "step < shape.steps", "step < shape.steps - 1", /^output/],
    ["one element is lost", "store", "dot(w[c], x)", "dot(w[c].xyz, x.xyz)", /^output/],
    [
      "a column is another's",
      "store",
      "weight[step * shape.columns + columns[c]]",
      "weight[step * shape.columns + columns[0]]",
      /^output/,
    ],
    [
      "nothing is written",
      "store",
      "output[row * shape.resultStride",
      "if (row > 1000) { return; } output[1 + row * shape.resultStride",
      /^output/,
    ],
    [
      "a result is no number",
      "store",
      "let scaled = product * shape.factor;",
      "let scaled = product * shape.factor + bitcast<f32>(0x7fc00000u | row);",
      /^output.*NaN/,
    ],
    ["the residual is replaced", "add", "stream[place] + product", "product", /^stream/],
    ["the next norm's weight is left out", "add", "sum * normWeight[at]", "sum", /^stream/],
    ["the norm's epsilon is huge", "gated", "shape.epsilon", "1000.0 * f32(shape.normVectors)", /^output/],
    ["gate and up are exchanged", "gated", "activation(gate) * up", "activation(up) * gate", /^output/],
    [
      "rotated the other way",
      "qkv",
      "x * rotation.x - y * rotation.y",
      "x * rotation.x + y * rotation.y",
      /^(queries|keys)/,
    ],
    ["values are rotated too", "qkv", "vec2f(x, y))", "rotated)", /^values/],
    ["keys go to the next slot", "qkv", "writeKey(place.slot", "writeKey(1 + place.slot", /^keys/],
  ] as const)("a broken one is caught: %s (%s)", async (_, form, text, replacement, where) => {
    miscompileAll(bench.device, text, replacement);
    const verdict = await verdictOn({ form, format: { type: "f32" } });
    expect(verdict.ok).toBe(false);
    expect(verdict.worst).toBeGreaterThan(1);
    expect(verdict.where).toMatch(where);
  });

  test.each([
    ["biases are forgotten", { form: "store", bias: true }, "biased(first, column)", "first", /^output/],
    [
      "a bias is the next column's",
      { form: "store", bias: true, normed: true },
      "shape.biasBegin + column",
      "shape.biasBegin + column + 1",
      /^output/,
    ],
    [
      "up's bias is gate's",
      { form: "gated", bias: true },
      "biased(last, column + shape.partner)",
      "biased(last, column)",
      /^output/,
    ],
    [
      "a bias is halved",
      { form: "qkv", bias: true },
      "return product + ",
      "return product + 0.5 * ",
      /^(queries|keys|values)/,
    ],
    [
      "silu is cut to relu",
      { form: "gated" },
      "return x / (1.0 + exp(min(-x, 80.0)));",
      "return max(x, 0.0);",
      /^output/,
    ],
    [
      "gelu's curve is another",
      { form: "gated", activation: "gelu_tanh", normed: false },
      "let t = 0.7978845608 * (x + 0.044715 * x * x * x);",
      "let t = 0.7978845608 * x;",
      /^output/,
    ],
    ["a norm is left out", { form: "store", normed: true }, "return inverseSqrt(", "return 1.0 + 0.0 * (", /^output/],
  ] as const)("a broken one is caught: %s", async (_, kind, text, replacement, where) => {
    expect((await verdictOn({ ...kind, format: { type: "f32" } })).ok).toBe(true);
    miscompileAll(bench.device, text, replacement);
    const verdict = await verdictOn({ ...kind, format: { type: "f32" } });
    expect(verdict.ok).toBe(false);
    expect(verdict.where).toMatch(where);
  });

  test("one that writes beside its rows is caught", async () => {
    miscompileAll(bench.device, "firstRow + r >= range.count", "firstRow + r > range.count + 1000");
    const kind = { form: "store", format: { type: "f32" } } as const;
    const matmul = new FewRowMatmul(bench.device, kind);
    await matmul.kernel(4).prepare();
    const data = probeData(kind, { ...probeSize(), rows: 15 }); // 11 rows are tried: one is left of the last slab
    const verdict = await computesRight(bench.device, {
      data,
      shape: matmul.shape(data.size),
      record: (recorder, buffers, rows) => matmul.record(recorder, matmul.bind(buffers, data.size.outputs), rows),
    });
    expect(verdict.ok).toBe(false);
    expect(verdict.where).toMatch(/^output, number \d+: .*expected no write/);
  });

  test.each([
    ["the smallest logit wins", "next.logit > best.logit", "next.logit < best.logit"],
    ["an id is the next one's", "shape.firstId + at", "shape.firstId + at + 1"],
    ["a lane is forgotten", "var lane = 0u; lane < LANES", "var lane = 1u; lane < LANES"],
    [
      "a thread's later outputs are forgotten",
      "p * shape.spread;\n    if (at",
      "p * shape.spread;\n    if (p == 0u && at",
    ],
  ])("a broken head is caught: %s", async (_, text, replacement) => {
    miscompileAll(bench.device, text, replacement);
    const { ok, where } = await verdictOn({ form: "headArgmax", format: { type: "f32" } });
    expect(ok).toBe(false);
    expect(where).toMatch(/^candidates/);
  });
});

function probeSize() {
  const { size, rows } = probeData({ form: "store", format: { type: "f32" } });
  return { inputSize: size.inputSize, outputs: size.outputs, headShape: size.headShape, rows };
}

describe("the self-check, on outputs", () => {
  const range = { first: 2, count: 3 };

  /** What a kernel without a rounding would leave. */
  function exactOutputs(data: ProbeData): Record<string, Words> {
    const outputs = Object.fromEntries(Object.entries(data.before).map(([name, words]) => [name, words.slice()]));
    for (let row = range.first; row < range.first + range.count; row++) {
      for (const { name, at, expected } of plainOutputs(data, row)) {
        outputNumbers(data, name, outputs[name]!)[at] = expected.value;
      }
    }
    return outputs;
  }

  test("a number passes up to its bound, which grows with its terms and not with the number", () => {
    const data = probeData({ form: "store", format: { type: "f32" } });
    const { at, expected } = plainOutputs(data, 3)[7]!;
    const bound = errorBound(data, "output", expected);
    expect(bound).toBeGreaterThan(data.size.inputSize * 2 ** -24 * expected.size);
    expect(bound).toBeLessThan(2e-4 * expected.size);
    for (const [factor, ok] of [
      [0, true],
      [0.9, true],
      [-0.9, true],
      [1.2, false],
      [-1.2, false],
    ] as const) {
      const outputs = exactOutputs(data);
      outputNumbers(data, "output", outputs.output!)[at] = expected.value + factor * bound;
      const verdict = judge({ data }, range, outputs);
      expect(verdict.ok, `${factor}`).toBe(ok);
      expect(verdict.worst).toBeCloseTo(Math.abs(factor), 1);
      if (!ok) expect(verdict.where).toContain(`output, number ${at}: `);
    }
  });

  test("a write outside the rows fails, even of a NaN's other bits' worth", () => {
    const data = probeData({ form: "add", format: { type: "f32" } });
    const outputs = exactOutputs(data);
    expect(judge({ data }, range, outputs).ok).toBe(true);
    outputs.stream![5] = 0x7fc00000;
    const { ok, worst, where } = judge({ data }, range, outputs);
    expect({ ok, worst }).toEqual({ ok: false, worst: Infinity });
    expect(where).toBe("stream, number 5: NaN, expected no write");
  });

  /** Candidates of two workgroups, even and odd ids, each the best of a row. */
  function candidates(
    data: ProbeData,
    change: (best: { logit: number; id: number }, row: number, group: number) => void,
  ) {
    const outputs = { candidates: data.before.candidates!.slice() };
    for (let row = range.first; row < range.first + range.count; row++) {
      const logits = plainProducts(data, row).map(({ value }) => value);
      for (const group of [0, 1]) {
        const id = logits.reduce((best, logit, i) => (i % 2 === group && logit > logits[best]! ? i : best), group);
        const best = { logit: logits[id]!, id };
        change(best, row, group);
        const at = (row * data.size.outputs + group) * 2;
        outputs.candidates.set([bits(Float32Array.of(best.logit))[0]!, best.id], at);
      }
    }
    return judge({ data, groupOf: (output) => output % 2 }, range, outputs);
  }

  const head = probeData({ form: "headArgmax", format: { type: "f16" } });
  const logitOf = (row: number, id: number) => plainProducts(head, row)[id]!.value;

  test("each workgroup's best id with its logit passes", () => {
    expect(candidates(head, () => {}).ok).toBe(true);
  });

  test.each([
    ["an id of another workgroup", (best) => Object.assign(best, { id: best.id ^ 1 })],
    ["no id", (best) => Object.assign(best, { id: 0xffffffff })],
    ["another logit", (best) => Object.assign(best, { logit: best.logit * 1.1 })],
    ["no number", (best) => Object.assign(best, { logit: NaN })],
    [
      "an id with its logit, though not the largest",
      (best, row, group) => {
        const id = best.id === group ? group + 2 : group;
        Object.assign(best, { id, logit: logitOf(row, id) });
      },
    ],
  ] as [string, (best: { logit: number; id: number }, row: number, group: number) => void][])(
    "does not pass: %s",
    (_, change) => {
      const { ok, where } = candidates(head, (best, row, group) => {
        if (row === 3 && group === 1) change(best, row, group);
      });
      expect(ok).toBe(false);
      expect(where).toMatch(/^candidates, number 42[23]: /);
    },
  );
});
