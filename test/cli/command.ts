/** Runs the built command line (`dist/node/layerleap.js`) as a user does: in a process of its own. */

import { spawn } from "node:child_process";
import { delimiter, join } from "node:path";

export const ROOT = join(import.meta.dirname, "../..");
export const MODEL = join(ROOT, "models/stories260k-layerskip");
const COMMAND = join(ROOT, "dist/node/layerleap.js");

export interface Run {
  /** Exit code; null when a signal ended the process. */
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  /** What stdin holds; closed by default. */
  stdin?: string;
  /** Added to the environment. */
  env?: Record<string, string>;
  /** The installed command to run; by default the one of this checkout. */
  command?: string;
  /** Called when the process runs. */
  onStart?: (child: Pick<ReturnType<typeof spawn>, "kill">) => void;
  /** Called with each chunk of stdout. */
  onStdout?: (child: Pick<ReturnType<typeof spawn>, "kill">, chunk: string) => void;
}

/** `layerleap ARGS`. */
export function layerleap(args: readonly string[], options: RunOptions = {}): Promise<Run> {
  const { stdin, env, command = COMMAND, onStart, onStdout } = options;
  const child = spawn(process.execPath, [command, ...args], {
    env: { ...userEnvironment(), ...env },
    stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  const run: Run = { code: null, stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
    run.stdout += chunk;
    onStdout?.(child, chunk);
  });
  child.stderr?.setEncoding("utf8").on("data", (chunk: string) => {
    run.stderr += chunk;
  });
  child.stdin?.end(stdin);
  onStart?.(child);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ ...run, code }));
  });
}

/** This process's environment without what vitest.config.ts added: the command has to find SwiftShader by itself. */
export function userEnvironment(): NodeJS.ProcessEnv {
  const { VK_DRIVER_FILES, VK_ICD_FILENAMES, LD_LIBRARY_PATH, ...others } = process.env;
  const unpacked = /[/]layerleap-\d+-chromium-/;
  const libraries = LD_LIBRARY_PATH?.split(delimiter).filter((folder) => !unpacked.test(folder));
  return {
    ...others,
    ...(VK_DRIVER_FILES && !unpacked.test(VK_DRIVER_FILES) && { VK_DRIVER_FILES }),
    ...(VK_ICD_FILENAMES && !unpacked.test(VK_ICD_FILENAMES) && { VK_ICD_FILENAMES }),
    ...(libraries?.length && { LD_LIBRARY_PATH: libraries.join(delimiter) }),
  };
}
