/**
 * Prepares a machine without a GPU driver: unpacks the SwiftShader adapter and the Chromium that the npm package
 * `@sparticuz/chromium` ships, and says with which environment Dawn and Chromium run on them. Node only.
 *
 * The environment has to be there before the process starts, because the dynamic linker and the Vulkan loader read it
 * then: the command line re-executes itself with it, Vitest and Playwright hand it to their children.
 */

import { execFile } from "node:child_process";
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rename, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

/** SwiftShader and Chromium, unpacked. */
export interface SoftwareAdapter {
  /** Where everything lies. */
  directory: string;
  /** The Chromium executable. */
  chromium: string;
  /** What a process that uses Dawn (the `webgpu` package) needs in its environment from the start. */
  dawnEnv: Record<string, string>;
  /** What Chromium needs in its environment. */
  chromiumEnv: Record<string, string>;
}

const PACKAGE = "@sparticuz/chromium";

/** Lists what was unpacked, with sizes: cleaners of temporary folders take single files. */
const MANIFEST = "layerleap-files.json";

/** Folders left behind by a process that was killed while it unpacked are removed after this long. */
const ABANDONED_MS = 10 * 60 * 1000;

/**
 * The package unpacks into `os.tmpdir()` and decides at import, from the environment, whether to bring Chromium's system
 * libraries. It does so in a process of its own, which leaves this one's environment alone.
 */
const UNPACK_SCRIPT = `
  const loaded = require(process.argv[1]);
  (loaded.default ?? loaded).executablePath().catch((error) => { console.error(error.message); process.exit(1); });
`;

/** `LAYERLEAP_ADAPTER=software` asks for SwiftShader even where there is a driver. */
export function softwareAdapterForced(): boolean {
  return process.env.LAYERLEAP_ADAPTER === "software";
}

/**
 * Whether Dawn finds a driver on this machine. Mesa's llvmpipe is one.
 *
 * On Linux that takes a Vulkan driver's manifest and the Vulkan loader, or a manifest named in the environment. macOS and
 * Windows always have Metal and D3D12.
 */
export function hasVulkanDriver(): boolean {
  if (process.platform !== "linux") return true;
  if (process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES) return true;
  return manifestFolders().some(holdsManifest) && hasVulkanLoader();
}

/** Whether there is a GPU that Chromium can use: it takes no software driver of Mesa's. */
export function hasGpu(): boolean {
  if (process.platform !== "linux") return true;
  const nodes = existsSync("/dev/dri") ? readdirSync("/dev/dri") : [];
  const card = nodes.some((name) => name.startsWith("renderD")) || existsSync("/dev/nvidiactl");
  return card && hasVulkanDriver();
}

/** Where the Vulkan loader looks for drivers (Vulkan-Loader, docs/LoaderDriverInterface.md, 'Driver Discovery on Linux'). */
function manifestFolders(): string[] {
  const list = (value: string | undefined, fallback: string) => (value || fallback).split(delimiter);
  const roots = [
    ...list(process.env.XDG_CONFIG_DIRS, "/etc/xdg"),
    "/etc",
    process.env.XDG_DATA_HOME || join(homedir(), ".local/share"),
    ...list(process.env.XDG_DATA_DIRS, "/usr/local/share:/usr/share"),
    "/usr/local/share",
    "/usr/share",
    "/run/opengl-driver/share", // NixOS
  ];
  return roots.map((root) => join(root, "vulkan/icd.d"));
}

function holdsManifest(folder: string): boolean {
  try {
    return readdirSync(folder).some((name) => name.endsWith(".json"));
  } catch {
    return false;
  }
}

function hasVulkanLoader(): boolean {
  const name = "libvulkan.so.1";
  const multiarch = process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
  const folders = [
    ...(process.env.LD_LIBRARY_PATH ?? "").split(delimiter).filter(Boolean),
    ...["/usr/local/lib", "/usr/lib", "/lib"].flatMap((lib) => [lib, `${lib}64`, join(lib, multiarch)]),
    "/run/opengl-driver/lib",
  ];
  if (folders.some((folder) => existsSync(join(folder, name)))) return true;
  try {
    // The linker's cache knows the remaining folders. It holds the names as plain text.
    return readFileSync("/etc/ld.so.cache").includes(`/${name}\0`);
  } catch {
    return false;
  }
}

let prepared: Promise<SoftwareAdapter | undefined> | undefined;

/**
 * SwiftShader and Chromium, unpacked once a machine, user and version into the folder for temporary files (`TMPDIR`).
 * The first time takes about two seconds and 210 MB.
 *
 * @returns undefined where the package is not installed or has no binaries for the platform (it has them for Linux x64)
 * @throws Error when they cannot be unpacked
 */
export function softwareAdapter(): Promise<SoftwareAdapter | undefined> {
  prepared ??= prepare();
  return prepared;
}

async function prepare(): Promise<SoftwareAdapter | undefined> {
  if (process.platform !== "linux" || process.arch !== "x64") return undefined;
  const entry = packageEntry();
  if (!entry) return undefined;
  const directory = join(tmpdir(), `layerleap-${process.getuid?.()}-chromium-${packageVersion(entry)}`);
  if (!isWhole(directory)) await unpack(entry, directory);
  return unpackedIn(directory);
}

/** The package's CommonJS entry, or undefined where it is not installed. */
function packageEntry(): string | undefined {
  try {
    return createRequire(import.meta.url).resolve(PACKAGE);
  } catch {
    return undefined;
  }
}

function packageVersion(entry: string): string {
  // package.json is not among the package's exports, so it is found by its place: build/cjs/index.cjs is the entry.
  const parsed: unknown = JSON.parse(readFileSync(join(entry, "../../../package.json"), "utf8"));
  if (typeof parsed === "object" && parsed && "version" in parsed) return String(parsed.version);
  throw new Error(`${PACKAGE}: package.json names no version: install it again`);
}

/** Unpacks beside `directory` and moves the whole into place, so that nobody ever sees a half. */
async function unpack(entry: string, directory: string): Promise<void> {
  await removeAbandoned(directory);
  const staging = await mkdtemp(`${directory}.`);
  try {
    await promisify(execFile)(process.execPath, ["-e", UNPACK_SCRIPT, entry], {
      env: { ...process.env, TMPDIR: staging, AWS_EXECUTION_ENV: "AWS_Lambda_nodejs20.x" },
    });
    writeFileSync(join(staging, "fonts/fonts.conf"), fontConfiguration(directory));
    mkdirSync(join(staging, "runtime"), { mode: 0o700 });
    writeFileSync(join(staging, MANIFEST), JSON.stringify(sizes(staging)));
    // Another process may have been faster (its folder serves), or a cleaner has taken files from an old one (it goes).
    if (existsSync(directory) && !isWhole(directory)) await rename(directory, `${staging}.old`);
    await rename(staging, directory).catch((error: unknown) => {
      if (!isWhole(directory)) throw error;
    });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.trim().split("\n").at(-1) : String(cause);
    throw new Error(`${PACKAGE} could not be unpacked into ${directory} (${reason}): is there room for 210 MB?`, {
      cause,
    });
  } finally {
    await rm(staging, { recursive: true, force: true });
    await rm(`${staging}.old`, { recursive: true, force: true });
  }
}

async function removeAbandoned(directory: string): Promise<void> {
  const prefix = `${directory}.`;
  for (const name of readdirSync(tmpdir())) {
    const path = join(tmpdir(), name);
    if (!path.startsWith(prefix)) continue;
    const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > ABANDONED_MS) await rm(path, { recursive: true, force: true });
  }
}

/** Size of each unpacked file by its path below `directory`. */
function sizes(directory: string): Record<string, number> {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((file) => join(file.parentPath, file.name).slice(directory.length + 1));
  return Object.fromEntries(paths.map((path) => [path, statSync(join(directory, path)).size]));
}

/**
 * Whether `directory` holds all that was unpacked.
 * @throws Error when it belongs to somebody else, whose libraries we must not load
 */
function isWhole(directory: string): boolean {
  const status = lstatSync(directory, { throwIfNoEntry: false });
  if (!status) return false;
  if (!status.isDirectory() || status.uid !== process.getuid?.() || (status.mode & 0o022) !== 0) {
    throw new Error(
      `${directory} is not a private folder of this user: remove it, or set TMPDIR to a folder of your own`,
    );
  }
  try {
    const manifest: unknown = JSON.parse(readFileSync(join(directory, MANIFEST), "utf8"));
    if (typeof manifest !== "object" || !manifest) return false;
    return Object.entries(manifest).every(([path, size]) => statSync(join(directory, path)).size === size);
  } catch {
    return false;
  }
}

/** The package's own file points at /tmp/fonts. */
function fontConfiguration(directory: string): string {
  return `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${directory}/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>${directory}/fonts-cache</cachedir>
</fontconfig>
`;
}

function unpackedIn(directory: string): SoftwareAdapter {
  const driver = join(directory, "vk_swiftshader_icd.json");
  const libraryPath = (folder: string) => [folder, process.env.LD_LIBRARY_PATH].filter(Boolean).join(delimiter);
  return {
    directory,
    chromium: join(directory, "chromium"),
    dawnEnv: {
      LD_LIBRARY_PATH: libraryPath(directory),
      VK_ICD_FILENAMES: driver,
      VK_DRIVER_FILES: driver,
      // Only silences a complaint of the Vulkan loader, so a session's own is kept.
      XDG_RUNTIME_DIR: process.env.XDG_RUNTIME_DIR || join(directory, "runtime"),
    },
    chromiumEnv: {
      LD_LIBRARY_PATH: libraryPath(join(directory, "al2023/lib")),
      FONTCONFIG_PATH: process.env.FONTCONFIG_PATH || join(directory, "fonts"),
      HOME: process.env.HOME || directory,
    },
  };
}
