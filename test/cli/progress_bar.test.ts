/** What the command line says of a load under way, and where: on a terminal only. */

import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { progressLine } from "../../src/cli/progress_bar.ts";
import type { LoadProgress } from "../../src/types.ts";
import { ROOT, userEnvironment } from "./command.ts";
import { hub, NAME } from "./hub.ts";

const MIB = 2 ** 20;

const HALF: LoadProgress = {
  phase: "download",
  loadedBytes: 50 * MIB,
  totalBytes: 100 * MIB,
  bytesPerSecond: 2.5 * MIB,
  secondsLeft: 20,
};

describe("the line of a state", () => {
  test.each<[string, Partial<LoadProgress>, string]>([
    ["half", {}, "downloading  [############............]  50 MiB of 100 MiB  2.5 MiB/s  0:20 left"],
    [
      "nothing yet",
      { loadedBytes: 0, bytesPerSecond: undefined, secondsLeft: undefined },
      `downloading  [${".".repeat(24)}]  0 bytes of 100 MiB`,
    ],
    [
      "all",
      { loadedBytes: 100 * MIB, secondsLeft: 0 },
      `downloading  [${"#".repeat(24)}]  100 MiB of 100 MiB  2.5 MiB/s  0:00 left`,
    ],
    [
      "a part of a second left",
      { secondsLeft: 0.2 },
      "downloading  [############............]  50 MiB of 100 MiB  2.5 MiB/s  0:01 left",
    ],
    [
      "an hour left",
      { secondsLeft: 3723 },
      "downloading  [############............]  50 MiB of 100 MiB  2.5 MiB/s  1:02:03 left",
    ],
    [
      "a standstill",
      { bytesPerSecond: 0.01, secondsLeft: 1e9 },
      "downloading  [############............]  50 MiB of 100 MiB  0 bytes/s  more than a day left",
    ],
    [
      "the upload",
      { phase: "upload" },
      "uploading    [############............]  50 MiB of 100 MiB  2.5 MiB/s  0:20 left",
    ],
    ["what counts no bytes", { phase: "read", loadedBytes: 0, totalBytes: 0 }, "reading settings and tokenizer..."],
    ["what counts none of its own", { phase: "compile", loadedBytes: 100 * MIB }, "compiling kernels..."],
  ])("%s", (_name, changes, line) => {
    expect(progressLine({ ...HALF, ...changes }, 100)).toBe(line);
  });

  test("never takes more columns than there are: the bar is narrowed, then left out, then the end cut off", () => {
    expect(progressLine(HALF, 68)).toBe("downloading  [######......]  50 MiB of 100 MiB  2.5 MiB/s  0:20 left");
    expect(progressLine(HALF, 60)).toBe("downloading  50 MiB of 100 MiB  2.5 MiB/s  0:20 left");
    expect(progressLine(HALF, 20)).toBe("downloading  50 MiB ");
    for (const phase of ["download", "read", "upload", "compile"] as const) {
      for (let columns = 1; columns <= 100; columns++) {
        expect(progressLine({ ...HALF, phase }, columns).length).toBeLessThanOrEqual(columns);
      }
    }
  });
});

const ERASED = "\r\x1b[K";

const SCRIPT = "/usr/bin/script";

/** `script` of util-linux runs a command in a terminal of its own; that of other systems is called otherwise. */
describe.skipIf(process.platform !== "linux" || !existsSync(SCRIPT))("on a terminal", () => {
  /** What it was sent. */
  async function seen(command: string, env: Record<string, string>): Promise<string> {
    const line = `${process.execPath} ${join(ROOT, "dist/node/layerleap.js")} ${command}`;
    const { stdout } = await promisify(execFile)(SCRIPT, ["-qec", line, "/dev/null"], {
      env: { ...userEnvironment(), TERM: "xterm", NO_COLOR: "1", ...env },
    });
    return stdout.replaceAll("\r\n", "\n");
  }

  /** What stays: all behind the line that was erased last. */
  function afterBar(output: string): string {
    const last = output.slice(output.lastIndexOf("\r"));
    expect(last.startsWith(ERASED)).toBe(true);
    return last.slice(ERASED.length);
  }

  test("a load shows its phases and erases them before the text", async () => {
    const { env } = await hub();
    const output = await seen(`generate Once --model ${NAME} --max-tokens 4`, env);
    expect(output).toMatch(/\rdownloading {2}\[[#.]+\] {2}[\d,.]+ \w+ of [\d,.]+ \w+/);
    expect(output).toContain("\rcompiling kernels...\x1b[K");
    expect(afterBar(output)).toMatch(/^ upon a time,\n4 tokens in .*\n$/);

    const again = await seen(`generate Once --model ${NAME} --max-tokens 4`, env);
    expect(again).not.toContain("downloading");
    expect(again).toContain("\rcompiling kernels...\x1b[K");
  });

  test("a download shows its bar, and what it came to", async () => {
    const { env } = await hub();
    const output = await seen(`models pull ${NAME}`, env);
    expect(output).toMatch(/\rdownloading {2}\[[#.]+\]/);
    expect(afterBar(output)).toBe("1 MiB fetched\n");
  });

  test("a dumb one gets no bar", async () => {
    const { env } = await hub();
    expect(await seen(`models pull ${NAME}`, { ...env, TERM: "dumb" })).toBe("1 MiB fetched\n");
  });
});
