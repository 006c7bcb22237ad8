/** The built library as a static host serves it: its scripts, the embedded models, and pages of a test, under a strict policy. */

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

const ROOT = join(import.meta.dirname, "..");
const TYPES: Record<string, string> = {
  "": "text/html",
  ".html": "text/html",
  ".js": "text/javascript",
  ".json": "application/json",
};

/** Scripts and workers of the page's own alone; nothing is evaluated. */
export const POLICY = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; img-src data:";

export interface LibrarySite {
  url: string;
  close: () => Promise<void>;
}

/** @param pages what is served beside `/lib/` (dist/browser) and `/models/`, by path */
export function serveLibrary(pages: Readonly<Record<string, string>>): Promise<LibrarySite> {
  const find = async (path: string) => {
    if (pages[path] !== undefined) return pages[path];
    if (path.startsWith("/lib/")) return readFile(join(ROOT, "dist/browser", path.slice(5)));
    return path.startsWith("/models/") ? readFile(join(ROOT, path)) : undefined;
  };
  return serveFiles(find, { "content-security-policy": POLICY });
}

/** @param find what there is at a path of the site; nothing where it gives nothing or fails */
export async function serveFiles(
  find: (path: string) => Promise<string | Buffer | undefined>,
  headers: Readonly<Record<string, string>> = {},
): Promise<LibrarySite> {
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url ?? "/", "http://x").pathname);
    const body = await find(path).catch(() => undefined);
    if (body === undefined) {
      response.writeHead(404).end();
      return;
    }
    const type = TYPES[extname(path)] ?? "application/octet-stream";
    response.writeHead(200, { "content-type": type, ...headers }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    close: () => new Promise((resolve) => void server.close(() => resolve())),
  };
}
