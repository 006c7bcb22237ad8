/** `layerleap calibrate`: fits an exit adapter to a model and writes it to a file. */

import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Calibration, CalibrationProgress, Model } from "../index.ts";
import { interruptible } from "./interruption.ts";
import { type LoadFlags, loadModel } from "./load.ts";
import { EXIT, faint, note, write } from "./output.ts";
import { readTextFile } from "./read_text.ts";
import { FailureError } from "./report.ts";
import { bytes } from "./size.ts";
import { StatusLine } from "./status_line.ts";
import { writeWhole } from "./write_file.ts";

export interface CalibrateFlags extends LoadFlags {
  text?: string;
  exitLayer?: number;
  maxTokens: number;
  out: string;
  json?: boolean;
}

const PHASES: Readonly<Record<CalibrationProgress["phase"], string>> = {
  write: "writing a text",
  collect: "reading the text",
  solve: "fitting",
  test: "testing",
};

/** Calibrates and prints. @returns the exit code */
export async function calibrate(flags: CalibrateFlags): Promise<number> {
  return interruptible(async (signal) => {
    const { exitLayer, maxTokens, out } = flags;
    const text = flags.text === undefined ? undefined : readTextFile(flags.text);
    requirePlace(out);
    await using model = await loadModel({ ...flags, exitAdapter: false }, signal);
    const begun = performance.now();
    const calibration = await calibrated(model, { text, exitLayer, maxTokens, signal });
    const seconds = (performance.now() - begun) / 1000;
    writeWhole("--out", out, calibration.bytes);
    if (flags.json) await write(`${JSON.stringify({ ...toJson(calibration), out, seconds })}\n`);
    else await write(table(calibration, model));
    const { tokens, testTokens } = calibration;
    note(
      faint(
        `${out}: ${bytes(calibration.bytes.length)}, exit layer ${calibration.exitLayer} of ${model.spec.layers}, ` +
          `fitted on ${tokens} tokens and tried on ${testTokens} others in ${seconds.toFixed(1)} s`,
      ),
    );
    const { plainAgreement, agreement } = calibration.exits.find((exit) => exit.exitLayer === calibration.exitLayer)!;
    if (agreement <= plainAgreement) {
      note(
        "layerleap: the map does not help: the model was trained for early exit, or the text is too short (some thousand tokens)",
      );
    }
    return EXIT.success;
  });
}

async function calibrated(
  model: Model,
  options: { text: string | undefined; exitLayer: number | undefined; maxTokens: number; signal: AbortSignal },
): Promise<Calibration> {
  using line = new StatusLine();
  const onProgress = ({ phase, done }: CalibrationProgress) =>
    line.show(`${PHASES[phase]} ${Math.round(100 * done)} %`);
  return await model.calibrate({ ...options, onProgress });
}

/** Bytes at the beginning of a file in which an adapter says what it is. */
const HEAD_BYTES = 4096;

/** Long work should not end with a folder that there is not, nor in the place of a text or a model. */
function requirePlace(path: string): void {
  const folder = dirname(resolve(path));
  if (!existsSync(folder)) throw new FailureError(`--out ${path}: there is no folder ${folder}`);
  if (!existsSync(path)) return;
  const file = openSync(path, "r");
  try {
    const head = Buffer.alloc(HEAD_BYTES);
    readSync(file, head, 0, HEAD_BYTES, 0);
    if (head.includes("layerleap-exit-adapter")) return;
  } finally {
    closeSync(file);
  }
  throw new FailureError(`--out ${path}: there is such a file, and it is no exit adapter: give another name`);
}

function table({ exits, exitLayer }: Calibration, { spec }: Model): string {
  const lines = exits.map(
    (exit) =>
      `${exit.exitLayer === exitLayer ? "*" : " "} ${String(exit.exitLayer).padStart(4)}` +
      `${exit.plainAgreement.toFixed(2).padStart(9)}${exit.agreement.toFixed(2).padStart(10)}` +
      `${`${exit.speedup.toFixed(2)}x`.padStart(9)}`,
  );
  return `${[`exit of ${spec.layers}    alone  with map  promises`, ...lines].join("\n")}\n`;
}

function toJson({ exitLayer, exits, tokens, testTokens }: Calibration): object {
  return {
    exit_layer: exitLayer,
    tokens,
    test_tokens: testTokens,
    exits: exits.map((exit) => ({
      exit_layer: exit.exitLayer,
      plain_agreement: exit.plainAgreement,
      agreement: exit.agreement,
      speedup: exit.speedup,
    })),
  };
}
