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
export async function serveLibrary(pages: Readonly<Record<string, string>>): Promise<LibrarySite> {
  const server = createServer(async (request, response) => {
    const path = normalize(new URL(request.url ?? "/", "http://x").pathname);
    const file = path.startsWith("/lib/") ? join("dist/browser", path.slice(5)) : path.slice(1);
    const body = pages[path] ?? (await readFile(join(ROOT, file)).catch(() => undefined));
    const isServed = pages[path] !== undefined || path.startsWith("/lib/") || path.startsWith("/models/");
    if (body === undefined || !isServed) {
      response.writeHead(404).end();
      return;
    }
    const type = TYPES[extname(path)] ?? "application/octet-stream";
    response.writeHead(200, { "content-type": type, "content-security-policy": POLICY }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    close: () => new Promise((resolve) => void server.close(() => resolve())),
  };
}
