/** Real HTTP servers on localhost that serve a folder well or badly. */

import { existsSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { onTestFinished } from "vitest";

export interface Answer {
  status?: number;
  headers?: Record<string, string | number>;
  body?: Uint8Array | string;
  /** Sends half of the body, or as much as `sent` says, and cuts the connection. */
  cut?: boolean;
  sent?: number;
}

/** What a server does with a request for a file of the folder; `undefined` for one that is not there. */
export type Behaviour = (file: Buffer | undefined, range: [number, number] | undefined, url: URL) => Answer;

export interface Server {
  url: string;
  /** `GET path [range]` of every request so far. */
  requests: string[];
}

/** Serves `folder` until the test ends. */
export async function serve(folder: string, behaviour: Behaviour): Promise<Server> {
  const requests: string[] = [];
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url!, "http://localhost");
    const path = join(folder, decodeURIComponent(url.pathname));
    const header = request.headers.range;
    requests.push([request.method, url.pathname, header].filter(Boolean).join(" "));
    const file = existsSync(path) ? readFileSync(path) : undefined;
    const match = /^bytes=(\d+)-(\d+)$/.exec(header ?? "");
    const {
      status = 200,
      headers = {},
      body = "",
      cut,
      sent,
    } = behaviour(file, match ? [+match[1]!, +match[2]!] : undefined, url);
    const bytes = Buffer.from(body);
    response.writeHead(status, { "content-length": bytes.length, ...headers });
    if (!cut) response.end(bytes);
    else cutOff(response, bytes.subarray(0, sent ?? bytes.length / 2));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, requests };
}

function cutOff(response: ServerResponse, bytes: Uint8Array): void {
  response.flushHeaders();
  response.write(bytes, () => setTimeout(() => response.destroy(), 20));
}

const NOT_FOUND: Answer = { status: 404, body: "no such file" };

/** As a good static server does. */
export const honouringRanges: Behaviour = (file, range) => {
  if (!file) return NOT_FOUND;
  if (!range) return { body: file };
  const [first, last] = [range[0], Math.min(range[1], file.length - 1)];
  if (first >= file.length) return { status: 416, headers: { "content-range": `bytes */${file.length}` } };
  const headers = { "content-range": `bytes ${first}-${last}/${file.length}` };
  return { status: 206, headers, body: file.subarray(first, last + 1) };
};

/** Answers everything whole. */
export const ignoringRanges: Behaviour = (file) => (file ? { body: file } : NOT_FOUND);

/** Compresses on the fly, so that Content-Length is not the file's. */
export const compressing: Behaviour = (file) =>
  file ? { headers: { "content-encoding": "gzip" }, body: gzipSync(file) } : NOT_FOUND;

/** Gives ranges of the compressed file. */
export const compressingRanges: Behaviour = (file, range, url) => {
  if (!file || !range) return compressing(file, range, url);
  const answer = honouringRanges(gzipSync(file), range, url);
  return { ...answer, headers: { ...answer.headers, "content-encoding": "gzip" } };
};

/** As across origins, where a page cannot see Content-Range unless the server allows it. */
export const hidingContentRange: Behaviour = (file, range, url) => {
  const { headers: _, ...answer } = honouringRanges(file, range, url);
  return answer;
};

const PAGE: Answer = {
  headers: { "content-type": "text/html; charset=utf-8" },
  body: "<!doctype html><title>App</title>",
};

/** As servers of single-page apps do: what is not there is the start page. */
export const fallingBackToPage: Behaviour = (file, range, url) => (file ? honouringRanges(file, range, url) : PAGE);

/** As `vite preview` does: of the start page, too, it gives the range asked for. */
export const fallingBackToRangeOfPage: Behaviour = (file, range, url) => {
  if (file) return honouringRanges(file, range, url);
  const answer = honouringRanges(Buffer.from(String(PAGE.body)), range, url);
  return { ...answer, headers: { ...answer.headers, ...PAGE.headers } };
};
