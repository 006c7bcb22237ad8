/** What an app's page fetches, gzipped: a script and all that it imports at once, and what comes when it is called for. */

import { readdirSync, readFileSync } from "node:fs";
import { join, normalize } from "node:path";

const FOLDER = "dist/browser";

/** A script and what it imports statically, which a browser fetches with it. */
function closure(file, found = new Set()) {
  if (found.has(file)) return found;
  found.add(file);
  const code = readFileSync(join(FOLDER, file), "utf8");
  for (const [, path] of code.matchAll(/(?:\bfrom|\bimport)\s*["'`]\.\/([^"'`]+)["'`]/g))
    closure(normalize(path), found);
  return found;
}

/** The chunk of a module, by the beginning of its name. */
function chunk(name) {
  const [file, ...others] = readdirSync(FOLDER).filter((each) => each.endsWith(".js") && each.startsWith(`${name}-`));
  if (!file || others.length > 0) throw new Error(`${FOLDER} has no chunk, or several, of ${name}: is it built?`);
  return file;
}

const before = closure("index.js");
const size = (name, files, limit) => ({ name, path: files.map((file) => join(FOLDER, file)), gzip: true, limit });

export default [
  size("a page before it loads a model", [...before], "3 kB"),
  size("a page whose model is in a worker", [...new Set([...before, ...closure(chunk("load_in_worker"))])], "9 kB"),
  size("what computes a model of safetensors", [...new Set([...before, ...closure(chunk("load"))])], "146 kB"),
  size(
    "the same, with its chat template",
    [...new Set([...before, ...closure(chunk("load")), ...closure(chunk("chat_template"))])],
    "162 kB",
  ),
  size(
    "all there is: GGUF, calibration and downloads too",
    readdirSync(FOLDER).filter((file) => file.endsWith(".js")),
    "190 kB",
  ),
];
