import { afterEach, describe, expect, test, vi } from "vitest";
import { DeviceLostError, GpuError, InputError } from "../../src/errors.ts";
import { Device } from "../../src/gpu/device.ts";
import { bestChoice, type KernelChoice, sharedVariant } from "../../src/kernels/choice.ts";
import { chooseKernels, type FewRowCheck, fewRowFault } from "../../src/kernels/choose.ts";
import { THREAD_VARIANT } from "../../src/kernels/few_row_variant.ts";
import { formatName } from "../../src/kernels/weight_format.ts";
import { defaultGpu } from "../../src/platform/node.ts";
import { KERNEL_NAMES, kernelNames, readKernelOptions } from "../../src/session/kernel_options.ts";
import type { KernelOptions } from "../../src/types.ts";
import { fullMatrix } from "../slow.ts";
import { openBench } from "./harness.ts";
import { formatOf, layerKinds, runsHere, VARIANTS } from "./matmul_inputs.ts";
import { altered, type Change, miscompiling } from "./miscompile.ts";

const bench = openBench();

const HEAD_SHAPE = { heads: 2, kvHeads: 1, headDim: 8 };
const NEEDS = { layers: layerKinds(formatOf("f32")), head: [formatOf("f16")], headShape: HEAD_SHAPE, conversions: [] };
/** What asks nothing of the hardware, and what is quick to compile: for tests of the few-row matmul. */
const PLAIN = { manyRows: "thread", attention: "threads", promptAttention: "threads" } as const;

/** The device at hand, as though it were a GPU: what it computes is right either way. */
function gpuLike(device: Device, subgroupMinSize = 4): Device {
  return altered(device, { info: { ...device.info, software: false, subgroupMinSize } });
}

const right: FewRowCheck = async () => undefined;

/** Fails unless the checks give back all their buffers. When a choice fails, some are still under way. */
function expectNothingLeft(device = bench.device): Promise<void> {
  return vi.waitFor(() => expect(device.ledger.report().buffers).toBe(0), 20_000);
}

afterEach(() => expectNothingLeft());

/** What to break in the kernels of a few-row variant. */
const FAULTS: Record<string, Change> = {
  subgroup: ["sum += subgroupShuffleXor(sum, distance);", "sum += sum;"],
  workgroup: ["sum += partials[", "sum = partials["],
  thread: ["let last = sums[(p * WIDTH + WIDTH - 1) * M + r] * norm;", "let last = 0.0;"],
};

/** A device that breaks the one-row kernels of these variants. */
function breaking(device: Device, ...kinds: (keyof typeof FAULTS)[]): Device {
  return miscompiling(device, ({ name }, { M }) =>
    kinds.flatMap((kind) =>
      name.startsWith("matmul/few_rows") && name.endsWith(kind) && M === 1 ? [FAULTS[kind]!] : [],
    ),
  );
}

describe("the best choice for a device, before anything is checked", () => {
  const info = () => ({ ...bench.device.info, features: ["subgroups"], subgroupMinSize: 32 });

  test("on a software adapter a thread computes a whole output", () => {
    const device = altered(bench.device, { info: { ...info(), software: true } });
    expect(bestChoice(device)).toEqual({
      fewRows: THREAD_VARIANT,
      manyRows: "thread",
      attention: "threads",
      promptAttention: "threads",
      kv: "f32",
    });
  });

  test("on a GPU threads share an output", () => {
    const device = altered(bench.device, { info: { ...info(), software: false } });
    expect(bestChoice(device)).toEqual({
      fewRows: { kind: "subgroup", slices: 8 },
      manyRows: "tiles",
      attention: "workgroup",
      promptAttention: "tiles",
      kv: "f32",
    });
  });

  test.each([
    [4, { kind: "subgroup", slices: 4 }],
    [7, { kind: "subgroup", slices: 4 }],
    [8, { kind: "subgroup", slices: 8 }],
    [16, { kind: "subgroup", slices: 8 }],
    [64, { kind: "subgroup", slices: 8 }],
    [2, { kind: "workgroup", slices: 8 }],
    [undefined, { kind: "workgroup", slices: 8 }],
  ] as const)("in subgroups no smaller than %s: %j", (subgroupMinSize, variant) => {
    const { subgroupMinSize: _, ...others } = info();
    expect(sharedVariant({ ...others, ...(subgroupMinSize && { subgroupMinSize }) })).toEqual(variant);
  });

  test("without subgroups, in workgroup memory, whatever the adapter says of their size", () => {
    expect(sharedVariant({ ...info(), features: ["shader-f16"] })).toEqual({ kind: "workgroup", slices: 8 });
  });
});

describe("fewRowFault", () => {
  // The probe must be so long that each slice takes several steps, whatever the format: a loop that runs once hides much.
  test.for(
    fullMatrix({
      variant: ["thread", "subgroup:4", "workgroup:8"],
      codes: ["f32", "f16", "q8 symmetric", "q4 symmetric"],
    }),
  )(
    "$codes, $variant: finds out that every second step of a slice is left out",
    async ({ variant, codes }, { skip }) => {
      skip(!runsHere(bench.device, variant), "no subgroups here");
      const kind = { form: "add", format: formatOf(codes) } as const;
      expect(await fewRowFault(bench.device, kind, VARIANTS[variant])).toBeUndefined();
      const device = miscompiling(bench.device, () => [["step += SLICES) {", "step += 2 * SLICES) {"]]);
      expect(await fewRowFault(device, kind, VARIANTS[variant])).toMatch(/^add .*: stream, number \d+: .*, expected/);
    },
  );
});

describe("chooseKernels", () => {
  test("takes the best choice where it computes right: as here", async () => {
    const { kernels, warnings } = await chooseKernels(bench.device, NEEDS);
    expect(kernels).toEqual(bestChoice(bench.device));
    expect(warnings).toEqual([]);
  });

  test("takes what a GPU would get, here in subgroups of four", async ({ skip }) => {
    skip(!runsHere(bench.device, "subgroup:4"), "no subgroups here");
    const device = gpuLike(bench.device);
    const { kernels, warnings } = await chooseKernels(device, NEEDS, { manyRows: "thread" });
    expect(kernels).toEqual({ ...bestChoice(device), manyRows: "thread" });
    expect(kernels.fewRows).toEqual(VARIANTS["subgroup:4"]);
    expect(warnings).toEqual([]);
  });

  test("drops a variant that computes wrong, says what was found, and takes the next", async ({ skip }) => {
    skip(!runsHere(bench.device, "subgroup:4"), "no subgroups here");
    const one = await chooseKernels(breaking(gpuLike(bench.device), "subgroup"), NEEDS, PLAIN);
    expect(one.kernels.fewRows).toEqual(VARIANTS["workgroup:8"]);
    expect(one.warnings).toEqual([
      expect.stringMatching(
        /^the few-row matmul 'subgroup:4' is not used on this device: qkv f32: \w+, number \d+: .+, expected .+ within /,
      ),
    ]);
    const both = await chooseKernels(breaking(gpuLike(bench.device), "subgroup", "workgroup"), NEEDS, PLAIN);
    expect(both.kernels.fewRows).toEqual(THREAD_VARIANT);
    expect(both.warnings.map((warning) => /'.*'/.exec(warning)?.[0])).toEqual(["'subgroup:4'", "'workgroup:8'"]);
  });

  test("fails where no variant computes right, and says what was found last", async () => {
    const device = breaking(gpuLike(bench.device), "subgroup", "workgroup", "thread");
    const failure = chooseKernels(device, NEEDS, PLAIN);
    await expect(failure).rejects.toThrow(GpuError);
    await expect(failure).rejects.toThrow(
      /^few-row matmul: .*'thread' is not used on this device: qkv f32: \w+, number/,
    );
  });

  test("one kernel of one format is enough to drop a variant", async () => {
    const needs = { ...NEEDS, layers: [...layerKinds(formatOf("f32")), ...layerKinds(formatOf("f16"))] };
    const check: FewRowCheck = async (_, { form, format }, { kind }) =>
      form === "add" && format.type === "f16" && kind === "workgroup" ? "add is off" : undefined;
    const device = altered(bench.device, { info: { ...bench.device.info, software: false, features: [] } });
    const { kernels, warnings } = await chooseKernels(device, needs, PLAIN, check);
    expect(kernels.fewRows).toEqual(THREAD_VARIANT);
    expect(warnings).toEqual(["the few-row matmul 'workgroup:8' is not used on this device: add is off"]);
  });

  test("a kernel that does not compile is dropped, with what the compiler said", async () => {
    const device = miscompiling(gpuLike(bench.device), ({ name }) =>
      name === "matmul/few_rows headArgmax f16 subgroup" ? [["@compute", "@compute @nonsense"]] : [],
    );
    const { kernels, warnings } = await chooseKernels(device, NEEDS, PLAIN);
    expect(kernels.fewRows).toEqual(VARIANTS["workgroup:8"]);
    expect(warnings).toEqual([
      expect.stringMatching(
        /^the few-row matmul 'subgroup:4' is not used on this device: headArgmax f16: matmul.few_rows headArgmax f16 subgroup .*: line \d+: /s,
      ),
    ]);
    bench.device.check();
  });

  test.each([
    [
      "many-row matmul",
      / tiles$/,
      "tiles",
      { manyRows: "thread" },
      /qkv f32: matmul.many_rows qkv f32 tiles .*: line \d+: /,
    ],
    [
      "attention of generated rows",
      /^attention.few_queries_workgroup/,
      "workgroup",
      { attention: "threads" },
      /: attention\/\w+ .*: line \d+: /,
    ],
    [
      "attention of prompts",
      /^attention.prompt_tiles/,
      "tiles",
      { promptAttention: "threads" },
      /: attention\/\w+ .*: line \d+: /,
    ],
  ] as const)(
    "%s: what does not work is dropped with a warning as well",
    async (what, broken, variant, next, found) => {
      const device = miscompiling(gpuLike(bench.device), ({ name }) =>
        broken.test(name) ? [["@compute", "@compute @nonsense"]] : [],
      );
      const others = Object.fromEntries(Object.entries(PLAIN).filter(([option]) => !(option in next)));
      const { kernels, warnings } = await chooseKernels(device, NEEDS, others, right);
      expect(kernels).toMatchObject(next);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(`the ${what} '${variant}' is not used on this device: `);
      expect(warnings[0]).toMatch(found);
      bench.device.check();
    },
  );

  test("takes forced variants whatever the device", async () => {
    const forced: KernelChoice = {
      fewRows: VARIANTS["workgroup:8"],
      manyRows: "thread",
      attention: "workgroup",
      promptAttention: "tiles",
      kv: "f16",
    };
    const { kernels, warnings } = await chooseKernels(bench.device, NEEDS, forced);
    expect(kernels).toEqual(forced);
    expect(warnings).toEqual([]);
  });

  test("does not replace a forced variant that computes wrong, but fails and names it", async () => {
    const forced = { ...PLAIN, fewRows: VARIANTS["workgroup:8"] };
    const failure = chooseKernels(breaking(bench.device, "workgroup"), NEEDS, forced);
    await expect(failure).rejects.toThrow(GpuError);
    await expect(failure).rejects.toThrow("the few-row matmul 'workgroup:8' is not used on this device");
    const int8 = chooseKernels(bench.device, NEEDS, { manyRows: "int8" }, right);
    await expect(int8).rejects.toThrow(GpuError);
    await expect(int8).rejects.toThrow(
      "the many-row matmul 'int8' is not used on this device: it does not take f32 here",
    );
  });

  test("checks every form of the layers in every format of theirs, and the head in its own, with the cache's type", async () => {
    const needs = {
      layers: [...layerKinds(formatOf("f32")), ...layerKinds(formatOf("f16"))],
      head: [formatOf("q8 symmetric"), formatOf("f32")],
      headShape: HEAD_SHAPE,
      conversions: [],
    };
    const asked: string[] = [];
    await chooseKernels(bench.device, needs, { ...PLAIN, kv: "f16" }, async (device, kind, variant) => {
      expect(device).toBe(bench.device);
      expect(variant).toBe(THREAD_VARIANT);
      if (kind.form === "qkv") expect(kind.kv).toBe("f16");
      asked.push(`${kind.form} ${formatName(kind.format)}`);
      return undefined;
    });
    expect(asked.sort()).toEqual(
      [
        ...["qkv", "add", "gated"].flatMap((form) => [`${form} f32`, `${form} f16`]),
        ...["headArgmax", "store"].flatMap((form) => [`${form} q8/32 symmetric f16`, `${form} f32`]),
      ].sort(),
    );
  });

  test("an error that is no kernel's fault is not taken for one", async () => {
    const device = miscompiling(bench.device, () => [["a text that is in no kernel", ""]]);
    await expect(chooseKernels(device, NEEDS)).rejects.toThrow(/^the code has 0 places/);
    await expect(
      chooseKernels(bench.device, NEEDS, {}, async () => {
        throw new TypeError("a mistake");
      }),
    ).rejects.toThrow(TypeError);
  });

  test("a lost device is reported as such", async () => {
    const device = await Device.open(await defaultGpu());
    device.handle.destroy();
    await device.handle.lost;
    await expect(chooseKernels(device, NEEDS)).rejects.toThrow(DeviceLostError);
    await expectNothingLeft(device);
    device.dispose();
  });
});

describe("the options that force kernels", () => {
  test("each name stands for its variant, and what is not given is left to the device", () => {
    expect(readKernelOptions()).toStrictEqual({});
    expect(readKernelOptions({})).toStrictEqual({});
    expect(readKernelOptions({ fewRows: undefined, kv: undefined } as KernelOptions)).toStrictEqual({});
    expect(readKernelOptions({ fewRows: "thread" })).toStrictEqual({ fewRows: THREAD_VARIANT });
    expect(readKernelOptions({ fewRows: "subgroup:4" })).toStrictEqual({ fewRows: { kind: "subgroup", slices: 4 } });
    expect(readKernelOptions({ fewRows: "workgroup:8", kv: "f16" })).toStrictEqual({
      fewRows: { kind: "workgroup", slices: 8 },
      kv: "f16",
    });
    const others = { manyRows: "int8", attention: "workgroup", promptAttention: "tiles" } as const;
    expect(readKernelOptions(others)).toStrictEqual(others);
  });

  test("a choice has the names that would force it", () => {
    for (const fewRows of KERNEL_NAMES.fewRows) {
      const forced = readKernelOptions({ fewRows });
      expect(kernelNames({ ...bestChoice(bench.device), ...forced }).fewRows).toBe(fewRows);
    }
    expect(Object.keys(kernelNames(bestChoice(bench.device))).sort()).toEqual(Object.keys(KERNEL_NAMES).sort());
  });

  test.each([
    [{ fewrows: "thread" }, "load: kernels: fewrows: found an unknown option"],
    [
      { fewRows: "threads" },
      'load: kernels.fewRows: found "threads", expected one of thread, subgroup:4, subgroup:8, subgroup:16, workgroup:4, workgroup:8, workgroup:16',
    ],
    [{ manyRows: "workgroup" }, 'load: kernels.manyRows: found "workgroup", expected one of thread, tiles, int8'],
    [{ attention: "tiles" }, 'load: kernels.attention: found "tiles", expected one of threads, workgroup'],
    [
      { promptAttention: "workgroup" },
      'load: kernels.promptAttention: found "workgroup", expected one of threads, tiles',
    ],
    [{ kv: 16 }, "load: kernels.kv: found 16, expected one of f32, f16"],
    [{ kv: null }, "load: kernels.kv: found null, expected one of f32, f16"],
  ])("%j is refused", (options, message) => {
    const read = () => readKernelOptions(options as KernelOptions);
    expect(read).toThrow(InputError);
    expect(read).toThrow(message);
  });
});
