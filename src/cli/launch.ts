/**
 * Gives the process a GPU driver where the machine has none: starts the same command again in a process whose
 * environment names SwiftShader, for the Vulkan loader reads it at the start.
 */

import { spawn } from "node:child_process";
import { constants } from "node:os";
import { hasVulkanDriver, softwareAdapter, softwareAdapterForced } from "../platform/software_adapter.ts";
import { FailureError } from "./report.ts";

const FORWARDED = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs this command in a process with a software adapter, if this one needs it.
 * @param withoutDriver the command has something to say without a GPU too
 * @returns its exit code, or undefined when the command shall run here
 * @throws FailureError when this process needs one and there is none
 */
export async function relaunch(withoutDriver = false): Promise<number | undefined> {
  if (process.env.LAYERLEAP_LAUNCHED) {
    endWithLauncher();
    return undefined;
  }
  const forced = softwareAdapterForced();
  if (hasVulkanDriver() && !forced) return undefined;
  const adapter = await softwareAdapter().catch((cause: Error) => {
    throw new FailureError(cause.message, { cause });
  });
  if (adapter) return runAgain(adapter.dawnEnv);
  if (withoutDriver && !forced) return undefined;
  // Dawn would say less, and over several lines.
  const software = "npm install @sparticuz/chromium (Linux on x64 only)";
  throw new FailureError(
    forced
      ? `LAYERLEAP_ADAPTER=software needs a package: ${software}`
      : `no Vulkan driver found: install one, or name its manifest in VK_DRIVER_FILES, or compute on the CPU: ${software}`,
  );
}

/** The channel to the launcher closes when it dies, by SIGKILL too. Nobody waits for the result then. */
function endWithLauncher(): void {
  process.on("disconnect", () => process.exit(1));
  process.channel?.unref();
}

function runAgain(env: Record<string, string>): Promise<number> {
  const script = process.argv[1] ?? "";
  const child = spawn(process.execPath, [...process.execArgv, script, ...process.argv.slice(2)], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    env: { ...process.env, ...env, LAYERLEAP_LAUNCHED: "1" },
  });
  // A terminal sends Ctrl-C to both processes. This one has to outlive the other, to hand on its exit code; the other
  // takes a signal that reaches it twice in a moment for one.
  for (const signal of FORWARDED) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)));
  });
}
