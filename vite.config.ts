/**
 * Builds, one mode each:
 *
 *     vite, vite build            the demo page        demo/          -> dist/demo
 *     --mode lib-browser          the library          src/index.ts   -> dist/browser
 *     --mode lib-node             the same for Node and the command line -> dist/node
 */

import { chmodSync, readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { join, posix, sep } from "node:path";
import { defineConfig, type Plugin, type UserConfig } from "vite";
import { bareWgsl } from "./build/bare_wgsl.ts";

const ROOT = import.meta.dirname;
const MODELS = join(ROOT, "models");

/** Packages that stay imports: the user's own copy is used, or none where they are optional. */
const EXTERNAL = ["@huggingface/jinja", "@huggingface/tokenizers", "@sparticuz/chromium", "webgpu"];

export default defineConfig(({ mode }) => {
  if (mode === "lib-browser") return browserLibrary();
  if (mode === "lib-node") return nodeLibrary();
  return demoPage();
});

function demoPage(): UserConfig {
  return {
    root: join(ROOT, "demo"),
    // Relative, so that the page runs from any folder of a static host.
    base: "./",
    // What is not there is a 404, as on a static host, not the page.
    appType: "mpa",
    publicDir: false,
    build: { outDir: join(ROOT, "dist/demo"), emptyOutDir: true, target: "es2022" },
    plugins: [models(), workerOfSource(), shippedShaders()],
    worker: { format: "es", plugins: () => [shippedShaders()] },
  };
}

function browserLibrary(): UserConfig {
  return {
    publicDir: false,
    build: {
      outDir: join(ROOT, "dist/browser"),
      emptyOutDir: true,
      target: "es2022",
      sourcemap: true,
      // What a page takes as it is has to be small; what is to be read lies beside it, in the map. Of a library Vite alone keeps the blanks.
      minify: true,
      rolldownOptions: { output: { minify: true } },
      lib: {
        // Whole, so that a page, and the worker that has no import map, may take them as they are.
        entry: {
          index: join(ROOT, "src/index.ts"),
          research: join(ROOT, "src/research.ts"),
          worker: join(ROOT, "src/worker.ts"),
        },
        formats: ["es"],
      },
    },
    plugins: [workerBesideIt(), shippedShaders()],
  };
}

function nodeLibrary(): UserConfig {
  return {
    publicDir: false,
    // As a server build, `#platform` resolves under the condition "node". Everything but EXTERNAL is bundled.
    ssr: { noExternal: true, external: EXTERNAL },
    build: {
      ssr: true,
      outDir: join(ROOT, "dist/node"),
      emptyOutDir: true,
      target: "node20",
      sourcemap: true,
      minify: false,
      rolldownOptions: {
        input: {
          index: join(ROOT, "src/index.ts"),
          research: join(ROOT, "src/research.ts"),
          layerleap: join(ROOT, "src/cli/layerleap.ts"),
        },
        external: [...EXTERNAL, /^node:/, ...builtinModules],
        // All in one folder: the code finds package.json and models/ two folders up, as it does from src/*.
        output: { entryFileNames: "[name].js", chunkFileNames: "[name]-[hash].js" },
      },
    },
    plugins: [executable(join(ROOT, "dist/node/layerleap.js")), shippedShaders()],
  };
}

/** What stands in the source for the address of the worker's script (src/worker/started.ts). */
const WORKER = "LAYERLEAP_WORKER";

/** In the library it lies beside the script that starts it, in the words that bundlers look for. */
function workerBesideIt(): Plugin {
  return {
    name: "layerleap:worker",
    renderChunk: (code) => (code.includes(WORKER) ? { code: withWorker(code, "./worker.js"), map: null } : null),
  };
}

/** On the demo page it is made of the source. */
function workerOfSource(): Plugin {
  return {
    name: "layerleap:worker",
    enforce: "pre",
    transform: (code, id) =>
      id.includes("/src/worker/") && code.includes(WORKER)
        ? { code: withWorker(code, "../worker.ts"), map: null }
        : undefined,
  };
}

function withWorker(code: string, file: string): string {
  return code.replaceAll(`Worker(${WORKER},`, `Worker(new URL("${file}", import.meta.url),`);
}

/** Shaders without what is for their readers. */
function shippedShaders(): Plugin {
  return {
    name: "layerleap:shaders",
    enforce: "pre",
    load(id) {
      const [file = ""] = id.split("?");
      if (!file.endsWith(".wgsl")) return undefined;
      this.addWatchFile(file);
      return `export default ${JSON.stringify(bareWgsl(readFileSync(file, "utf8")))};`;
    },
  };
}

/** Makes the command executable: npm does so on installing, a clone has only this. */
function executable(file: string): Plugin {
  return { name: "layerleap:executable", writeBundle: () => chmodSync(file, 0o755) };
}

/** The embedded models under models/ beside the page: served in development, copied in a build. */
function models(): Plugin {
  return {
    name: "layerleap:models",
    configureServer(server) {
      server.middlewares.use((request, _response, next) => {
        if (request.url?.startsWith("/models/")) request.url = `/@fs/${posix.join(slashed(ROOT), request.url)}`;
        next();
      });
    },
    generateBundle() {
      for (const entry of readdirSync(MODELS, { recursive: true, withFileTypes: true })) {
        // golden.json is for tests.
        if (!entry.isFile() || entry.name === "golden.json") continue;
        const path = join(entry.parentPath, entry.name);
        this.emitFile({ type: "asset", fileName: slashed(path.slice(ROOT.length + 1)), source: readFileSync(path) });
      }
    },
  };
}

function slashed(path: string): string {
  return path.split(sep).join("/");
}
