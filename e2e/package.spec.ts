/**
 * The package as apps have it: packed, installed into an empty app, built by the bundlers that there are, and by none. In the slow run.
 */

import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, type Page, test } from "@playwright/test";
import { goldenCase } from "../test/golden.ts";
import { SLOW } from "../test/slow.ts";
import { POLICY, serveFiles } from "./library_site.ts";
import { complaints } from "./page_story.ts";

const ROOT = join(import.meta.dirname, "..");
const BIN = join(ROOT, "node_modules/.bin");
const run = promisify(execFile);

/** The same six lines, and once more in a worker, whose script the bundler has to find, with a drafter that it has to leave alone. */
const TWICE = `
import { LayerLeap } from "layerleap";
const source = "/models/stories260k-layerskip/";
for (const worker of [undefined, WORKER]) {
  const model = await LayerLeap.load(source, { cache: false, ...(worker && { worker }) });
  const line = document.body.appendChild(document.createElement("p"));
  const drafter = worker && { drafter: new URL("/drafter.js", location.href) };
  for await (const part of model.generate("Once upon a time", { maxTokens: 60, ...drafter })) line.append(part.text);
  await model.dispose();
}
document.title = "done";
`;
const found = TWICE.replace("WORKER", "true");
const DRAFTER = 'export default { name: "eager", treeSize: 3, propose: () => [403, 407, 261] };';
const PAGE = (script: string) =>
  `<!doctype html><meta charset="utf-8"><title>App</title><link rel="icon" href="data:"><script type="module" src="${script}"></script>`;

test.describe("the package", () => {
  test.skip(!SLOW, "slow");
  test.setTimeout(400_000);
  let app: string;

  test.beforeAll(async () => {
    app = await mkdtemp(join(tmpdir(), "layerleap-app-"));
    await run("npm", ["pack", "--ignore-scripts", "--pack-destination", app], { cwd: ROOT });
    await writeFile(join(app, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
    const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as { version: string };
    const packed = `./layerleap-${version}.tgz`;
    await run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", packed], { cwd: app });
    await mkdir(join(app, "public"));
    await cp(join(app, "node_modules/layerleap/models"), join(app, "public/models"), { recursive: true });
  });
  test.afterAll(() => rm(app, { recursive: true, force: true }));

  /** Serves a folder, and the app's models, under a strict policy. */
  const serve = (folder: string) =>
    serveFiles(
      async (path) => {
        if (path === "/drafter.js") return DRAFTER;
        const root = path.startsWith("/models/") ? join(app, "public") : folder;
        return readFile(join(root, path === "/" ? "index.html" : path));
      },
      { "content-security-policy": POLICY },
    );

  async function expectTwoStories(page: Page, folder: string): Promise<void> {
    const site = await serve(folder);
    try {
      const heard = complaints(page);
      await page.goto(site.url);
      await expect(page).toHaveTitle("done");
      const lines = await page.locator("p").allTextContents();
      expect(lines).toHaveLength(2);
      for (const line of lines) {
        expect(line.length).toBeGreaterThan(100);
        expect(goldenCase("once").text_out.startsWith(line)).toBe(true);
      }
      expect(heard.filter((line) => !line.endsWith("status of 404 (Not Found)"))).toEqual([]);
    } finally {
      await site.close();
    }
  }

  test("brings no browser, no ONNX runtime and no GPU library along", async () => {
    const { stdout } = await run("npm", ["ls", "--all", "--parseable"], { cwd: app });
    const names = stdout.split("\n").flatMap((line) => line.split("node_modules/").slice(1));
    expect(names.sort()).toEqual(["@huggingface/jinja", "@huggingface/tokenizers", "layerleap"]);
  });

  test("its types hold in a strict app that knows nothing of WebGPU", async () => {
    const main = await readFile(join(ROOT, "examples/vite-app/src/main.ts"), "utf8");
    await writeFile(
      join(app, "types.ts"),
      `${main}\nimport type { Model } from "layerleap";\nimport { tryDrafter } from "layerleap/research";\nimport "layerleap/worker";\nexport const tried = (of: Model) => tryDrafter(of, "lookup", "Once");\n`,
    );
    for (const [moduleResolution, module] of [
      ["bundler", "esnext"],
      ["nodenext", "nodenext"],
    ]) {
      const compilerOptions = {
        ...{ noEmit: true, strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, types: [] },
        ...{ target: "es2022", lib: ["es2022", "dom", "dom.iterable"], moduleResolution, module },
      };
      await writeFile(join(app, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["types.ts"] }));
      const said = await run(join(BIN, "tsc"), [], { cwd: app }).then(
        ({ stdout }) => stdout,
        (error: Error & { stdout?: string }) => error.stdout || String(error),
      );
      expect(said).toBe("");
    }
  });

  test("six lines in an empty Vite app stream", async ({ page }) => {
    await cp(join(ROOT, "examples/vite-app"), app, { recursive: true });
    await run(join(BIN, "vite"), ["build", "--outDir", "vite", "--target", "es2022"], { cwd: app });
    const site = await serve(join(app, "vite"));
    try {
      const lengths: number[] = [];
      await page.goto(site.url);
      const whole = `Once upon a time${goldenCase("once").text_out}`;
      await expect
        .poll(
          async () => {
            const text = (await page.locator("body").textContent()) ?? "";
            lengths.push(text.length);
            expect(whole.startsWith(text.trimStart())).toBe(true);
            return text.trimStart().length;
          },
          { intervals: [50] },
        )
        .toBeGreaterThan(400);
      expect(new Set(lengths).size).toBeGreaterThan(3);
    } finally {
      await site.close();
    }
  });

  test("Vite finds the worker", async ({ page }) => {
    await mkdir(join(app, "src"), { recursive: true });
    await writeFile(join(app, "src/main.ts"), found);
    await writeFile(join(app, "index.html"), PAGE("/src/main.ts"));
    await run(join(BIN, "vite"), ["build", "--outDir", "vite2", "--target", "es2022"], { cwd: app });
    await expectTwoStories(page, join(app, "vite2"));
  });

  test("webpack finds the worker", async ({ page }) => {
    const folder = join(app, "webpack");
    await writeFile(join(app, "main.js"), found);
    const script = `
      import webpack from ${JSON.stringify(join(ROOT, "node_modules/webpack/lib/index.js"))};
      webpack({
        mode: "production", entry: "./main.js", experiments: { outputModule: true },
        output: { path: ${JSON.stringify(folder)}, filename: "main.js", module: true, publicPath: "auto" },
        performance: { hints: false },
      }, (error, stats) => {
        if (error || stats.hasErrors() || stats.hasWarnings()) { console.error(error ?? stats.toString()); process.exit(1); }
      });`;
    await writeFile(join(app, "webpack.mjs"), script);
    await run(process.execPath, ["webpack.mjs"], { cwd: app });
    await writeFile(join(folder, "index.html"), PAGE("/main.js"));
    await expectTwoStories(page, folder);
  });

  test("esbuild, which is told of the worker's script", async ({ page }) => {
    const folder = join(app, "esbuild");
    await writeFile(join(app, "told.js"), TWICE.replace("WORKER", 'new URL("./worker.js", import.meta.url)'));
    // A worker of the app's own, which has what the library's does for its side effects.
    await writeFile(join(app, "own_worker.js"), 'import "layerleap/worker";');
    const entries = ["main=told.js", "worker=own_worker.js"];
    await run(
      join(BIN, "esbuild"),
      [...entries, "--bundle", "--format=esm", "--splitting", "--minify", `--outdir=${folder}`],
      { cwd: app },
    );
    await writeFile(join(folder, "index.html"), PAGE("/main.js"));
    await expectTwoStories(page, folder);
  });

  test("no bundler: the package's files as they are", async ({ page }) => {
    const folder = join(app, "plain");
    await cp(join(app, "node_modules/layerleap/dist/browser"), join(folder, "layerleap"), { recursive: true });
    await writeFile(join(folder, "main.js"), found.replace('"layerleap"', '"./layerleap/index.js"'));
    await writeFile(join(folder, "index.html"), PAGE("/main.js"));
    await expectTwoStories(page, folder);
  });
});
