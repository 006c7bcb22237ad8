/** Which browser the tests run in, and how it has to be started for WebGPU. */

import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { chromium } from "@playwright/test";
import { hasGpu, softwareAdapter, softwareAdapterForced } from "../src/platform/software_adapter.ts";

/** What Playwright needs to start the browser. */
export interface BrowserLaunch {
  executablePath: string;
  args: string[];
  env: Record<string, string>;
}

/**
 * Finds a Chromium, in this order: the one that `LAYERLEAP_CHROMIUM` names, an installed Chrome, Edge or Chromium,
 * Playwright's own where it was downloaded, the one that the npm package `@sparticuz/chromium` ships (Linux on x64).
 *
 * Without a GPU it computes on SwiftShader, which every Chromium brings along.
 * @throws Error when there is none
 */
export async function browserLaunch(): Promise<BrowserLaunch> {
  const args = [
    "--enable-unsafe-webgpu",
    // Tests run in containers and as root, where Chromium's sandbox does not start.
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    ...adapterFlags(),
  ];
  const installed = chosenBrowser() ?? installedBrowsers().find(existsSync) ?? downloadedBrowser();
  if (installed) return { executablePath: installed, args, env: inherited() };
  const software = await softwareAdapter();
  if (!software) {
    throw new Error(
      "no Chromium: install Chrome, or set LAYERLEAP_CHROMIUM to one, or run: npx playwright install chromium",
    );
  }
  return { executablePath: software.chromium, args, env: { ...inherited(), ...software.chromiumEnv } };
}

function adapterFlags(): string[] {
  if (softwareAdapterForced() || !hasGpu()) return ["--use-webgpu-adapter=swiftshader"];
  // Chromium on Linux reaches the GPU through Vulkan, which it leaves off by default.
  return process.platform === "linux" ? ["--enable-features=Vulkan"] : [];
}

function chosenBrowser(): string | undefined {
  const path = process.env.LAYERLEAP_CHROMIUM;
  if (path && !existsSync(path)) throw new Error(`LAYERLEAP_CHROMIUM names ${path}, which does not exist`);
  return path || undefined;
}

/** Where Chrome, Edge and Chromium are installed by their own installers and by the distributions. */
function installedBrowsers(): string[] {
  switch (process.platform) {
    case "darwin": {
      const names = ["Google Chrome", "Microsoft Edge", "Chromium"];
      const applications = ["/Applications", join(homedir(), "Applications")];
      return names.flatMap((name) => applications.map((folder) => `${folder}/${name}.app/Contents/MacOS/${name}`));
    }
    case "win32": {
      const { LOCALAPPDATA, PROGRAMFILES, "PROGRAMFILES(X86)": PROGRAMFILES_X86 } = process.env;
      const folders = [PROGRAMFILES, PROGRAMFILES_X86, LOCALAPPDATA].filter((folder) => folder !== undefined);
      const programs = ["Google/Chrome/Application/chrome.exe", "Microsoft/Edge/Application/msedge.exe"];
      return programs.flatMap((program) => folders.map((folder) => join(folder, program)));
    }
    default:
      return [
        "/opt/google/chrome/chrome",
        "/usr/bin/google-chrome",
        "/opt/microsoft/msedge/msedge",
        "/usr/bin/chromium",
        "/usr/bin/chromium-browser",
      ];
  }
}

function downloadedBrowser(): string | undefined {
  const path = chromium.executablePath();
  return path && existsSync(path) ? path : undefined;
}

function inherited(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
