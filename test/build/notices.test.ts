/** Whoever's code is in the built library is named in THIRD_PARTY_NOTICES.md. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");

test.each(["browser", "node"])("dist/%s holds no package that the notices do not name", (build) => {
  const folder = join(ROOT, "dist", build);
  const sources = readdirSync(folder)
    .filter((file) => file.endsWith(".map"))
    .flatMap((file) => (JSON.parse(readFileSync(join(folder, file), "utf8")) as { sources: string[] }).sources);
  const packages = new Set(sources.flatMap((source) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(source)?.[1] ?? []));
  expect(sources.length).toBeGreaterThan(100);
  expect(packages.size).toBeGreaterThan(0);
  const notices = readFileSync(join(ROOT, "THIRD_PARTY_NOTICES.md"), "utf8");
  for (const name of packages) {
    const { version } = JSON.parse(readFileSync(join(ROOT, "node_modules", name, "package.json"), "utf8")) as {
      version: string;
    };
    expect(notices).toMatch(new RegExp(`${name}\\]?(\\([^)]*\\))? ${version.replaceAll(".", "\\.")} `));
  }
});
