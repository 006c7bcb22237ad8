/**
 * A real server that answers as the Hugging Face hub does: large files are redirected to another origin, where a signed URL
 * gives them. Tests can meddle with every answer.
 */

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What was asked. */
export interface Asked {
  /** `hub` or `cdn`. */
  at: "hub" | "cdn";
  path: string;
  range: [begin: number, end: number] | undefined;
  authorization: string | undefined;
}

/** Answers in the server's place; false leaves it to the server. */
export type Meddler = (asked: Asked, response: ServerResponse, server: HubServer) => boolean;

/** Files above this size are large: they have a SHA-256 and are redirected. */
const LARGE_BYTES = 100_000;

const SIGNATURE = "signature-of-the-cdn";

export class HubServer {
  readonly repo: string;
  /** The files by path; may be changed, which makes another commit. */
  readonly files: Map<string, Buffer>;
  readonly asked: Asked[] = [];
  /** Bytes of files that were sent. */
  sent = 0;
  meddle: Meddler = () => false;
  readonly #servers: Server[] = [];
  #urls: Record<Asked["at"], string> = { hub: "", cdn: "" };
  /** Files by commit. */
  readonly #commits = new Map<string, Map<string, Buffer>>();

  private constructor(repo: string, files: Record<string, Buffer>) {
    this.repo = repo;
    this.files = new Map(Object.entries(files));
  }

  static async start(files: Record<string, Buffer>, repo = "owner/name"): Promise<HubServer> {
    const server = new HubServer(repo, files);
    for (const at of ["hub", "cdn"] as const) {
      const http = createServer((request, response) => server.#answer(at, request, response));
      await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
      server.#servers.push(http);
      server.#urls[at] = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    }
    return server;
  }

  get endpoint(): string {
    return this.#urls.hub;
  }

  /** The commit of `main`, which follows the files. */
  get commit(): string {
    const hash = createHash("sha1");
    for (const [path, bytes] of this.files) hash.update(path).update(sha256(bytes));
    const commit = hash.digest("hex");
    if (!this.#commits.has(commit)) this.#commits.set(commit, new Map(this.files));
    return commit;
  }

  /** Requests for files. */
  get downloads(): Asked[] {
    return this.asked.filter(({ path }) => !path.startsWith("/api/"));
  }

  async stop(): Promise<void> {
    for (const server of this.#servers.splice(0)) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  /** Sends a file as a good server does; `cut` ends the connection after so many bytes of the body. */
  send(response: ServerResponse, file: Buffer, range: Asked["range"], { cut }: { cut?: number } = {}): void {
    const [begin, end] = range ? [range[0], Math.min(range[1], file.length)] : [0, file.length];
    const headers = { "content-length": end - begin, etag: `"${sha256(file).slice(0, 8)}"` };
    if (range) response.writeHead(206, { ...headers, "content-range": `bytes ${begin}-${end - 1}/${file.length}` });
    else response.writeHead(200, headers);
    const body = file.subarray(begin, cut === undefined ? end : Math.min(end, begin + cut));
    this.sent += body.length;
    if (cut === undefined || body.length === end - begin) response.end(body);
    else response.write(body, () => setTimeout(() => response.destroy(), 20));
  }

  #answer(at: Asked["at"], request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url!, this.#urls[at]);
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const asked: Asked = {
      at,
      path: decodeURIComponent(url.pathname),
      range: match ? [Number(match[1]), Number(match[2]) + 1] : undefined,
      authorization: request.headers.authorization,
    };
    this.asked.push(asked);
    response.setHeader("access-control-allow-origin", "*");
    response.setHeader("access-control-allow-headers", "*");
    response.setHeader("access-control-expose-headers", "*");
    if (request.method === "OPTIONS") response.setHeader("access-control-allow-headers", "authorization, range").end();
    else if (!this.meddle(asked, response, this)) this.#answerWell(asked, url, response);
  }

  #answerWell({ at, path, range }: Asked, url: URL, response: ServerResponse): void {
    const api = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/(.+)$/.exec(path);
    if (at === "hub" && api) {
      const commit = api[2] === "main" ? this.commit : api[2]!;
      const files = this.#commits.get(commit);
      if (api[1] !== this.repo || !files) {
        notFound(response, "RepoNotFound");
        return;
      }
      const siblings = [...files].map(([rfilename, bytes]) => ({
        ...{ rfilename, size: bytes.length, blobId: createHash("sha1").update(bytes).digest("hex") },
        ...(bytes.length > LARGE_BYTES && { lfs: { sha256: sha256(bytes), size: bytes.length, pointerSize: 130 } }),
      }));
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ sha: commit, siblings }));
      return;
    }
    const [, owner, name, , commit = "", ...parts] = path.split("/");
    const filePath = parts.join("/");
    const file = this.#commits.get(commit)?.get(filePath);
    if (`${owner}/${name}` !== this.repo || !file) {
      notFound(response, "EntryNotFound");
      return;
    }
    if (at === "cdn" && url.searchParams.get("signature") !== SIGNATURE) {
      response.writeHead(403).end();
      return;
    }
    if (at === "hub" && file.length > LARGE_BYTES) {
      const location = `${this.#urls.cdn}${url.pathname}?signature=${SIGNATURE}`;
      response.writeHead(302, { location }).end();
      return;
    }
    this.send(response, file, range);
  }
}

function notFound(response: ServerResponse, code: string): void {
  response.writeHead(404, { "x-error-code": code }).end();
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
