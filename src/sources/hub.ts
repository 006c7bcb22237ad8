/**
 * Models on the Hugging Face hub, or on a server that answers as it does.
 *
 * One request tells the commit of a revision and its files; all files are then read at that commit, so that a load never
 * mixes revisions.
 */

import { SourceError } from "../errors.ts";
import { Fields, parseJson } from "../json.ts";
import type { AccessToken } from "../types.ts";
import { type Http, refusal, request, shown } from "./exchange.ts";
import { knownHttpFile, openHttpFile } from "./http_file.ts";
import type { HubReference } from "./hub_reference.ts";
import { isModelFile, isOfFile, isWholeFile } from "./model_file.ts";
import type { RemoteFolder } from "./remote.ts";

/** A file as the hub lists it. */
export interface HubFile {
  path: string;
  /** Undefined where a mirror does not tell. */
  size: number | undefined;
  /** Names the content: SHA-256 of large files (Git LFS), else Git's own. */
  version: string | undefined;
  /** SHA-256 in hexadecimal digits; only large files have one. */
  sha256: string | undefined;
}

/** A repository at one commit. */
export interface HubListing {
  commit: string;
  files: HubFile[];
}

const MAX_SIZE = Number.MAX_SAFE_INTEGER;

/** The hub's commits are Git's: a revision of this form never means another one later. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/**
 * Asks which commit a revision is, and what files it has.
 * @throws SourceError when there is no such repository or revision, or it may not be read; FileFormatError when the answer
 * is not the hub's; the signal's reason
 */
export async function hubListing(
  endpoint: URL,
  { repo, revision }: HubReference,
  http: Http,
  signal?: AbortSignal,
): Promise<HubListing> {
  const url = hubUrl(endpoint, `api/models/${repo}/revision/${encodeURIComponent(revision)}`);
  url.search = "?blobs=true";
  const exchange = await request(url, http, { signal });
  if (!exchange.response.ok) {
    await exchange.cancel();
    throw refusal(url, exchange.response, http.advice?.(exchange.response));
  }
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for await (const bytes of exchange.bytes(signal)) parts.push(Uint8Array.from(bytes));
  return readListing(parseJson(await new Blob(parts).text(), shown(url)), shown(url));
}

/**
 * The hub's answer about a revision, or a listing that was stored.
 * @throws FileFormatError when it is neither
 */
export function readListing(value: unknown, name: string): HubListing {
  const answer = new Fields(value, name);
  const commit = answer.string("sha");
  if (!/^\w{1,64}$/.test(commit)) throw answer.error("sha", "a commit");
  const siblings = answer.get("siblings");
  if (!Array.isArray(siblings)) throw answer.error("siblings", "a list of files");
  const files = siblings.map((sibling: unknown, i): HubFile => {
    const file = new Fields(sibling, name, `siblings[${i}]`);
    const path = file.string("rfilename");
    const lfs = file.object("lfs");
    const size = (lfs ?? file).get("size") === undefined ? undefined : integer(lfs ?? file, "size");
    const sha256 = lfs?.get("sha256") === undefined ? undefined : lfs.string("sha256").toLowerCase();
    if (sha256 !== undefined && !/^[0-9a-f]{64}$/.test(sha256)) throw lfs!.error("sha256", "64 hexadecimal digits");
    const version = sha256 ?? (file.get("blobId") === undefined ? undefined : file.string("blobId"));
    return { path, size, version, sha256 };
  });
  return { commit, files };
}

function integer(fields: Fields, key: string): number {
  return fields.integer(key, { min: 0, max: MAX_SIZE });
}

/** A listing as JSON, for `readListing`. */
export function listingJson({ commit, files }: HubListing): unknown {
  const siblings = files.map(({ path, size, version, sha256 }) => ({
    ...{ rfilename: path, size, blobId: version, lfs: sha256 && { sha256, size } },
  }));
  return { sha: commit, siblings };
}

/**
 * The files of a repository at one commit, below the path of the reference; where that is a file, it alone.
 * @throws SourceError when the repository has no such path
 */
export function hubRemote(
  endpoint: URL,
  reference: HubReference,
  { commit, files }: HubListing,
  http: Http,
): RemoteFolder {
  const { repo, path: asked } = reference;
  const name = shown(hubUrl(endpoint, [repo, "resolve", commit, asked].filter(Boolean).join("/")));
  const byPath = new Map(files.map((file) => [file.path, file]));
  const only = byPath.has(asked) ? asked : undefined;
  if (only !== undefined && !isWholeFile(only)) {
    throw new SourceError(name, "is one file of a model: name its folder, or a .gguf file");
  }
  const prefix = only === undefined ? (asked ? `${asked}/` : "") : only.replace(/[^/]*$/, "");
  const isInside = (path: string) =>
    path.startsWith(prefix) && (only === undefined || isOfFile(only.slice(prefix.length), path.slice(prefix.length)));
  const inside = files.filter(({ path }) => isInside(path));
  if (inside.length === 0) throw new SourceError(name, `no such file or folder in ${repo}${suggestion(files)}`);
  return {
    name,
    pinned: true,
    async list() {
      return inside.map(({ path }) => path.slice(prefix.length)).filter((path) => !path.includes("/"));
    },
    async open(path, signal, retry) {
      const file = byPath.get(`${prefix}${path}`);
      if (!file || !isInside(file.path)) return undefined;
      const url = hubUrl(
        endpoint,
        `${repo}/resolve/${commit}/${file.path.split("/").map(encodeURIComponent).join("/")}`,
      );
      const { size, version, sha256 } = file;
      if (size !== undefined) return knownHttpFile(url, http, { size, version: version ?? commit, sha256 });
      return openHttpFile(url, http, signal, retry);
    },
  };
}

function hubUrl(endpoint: URL, path: string): URL {
  const base = new URL(endpoint);
  base.search = "";
  base.hash = "";
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return new URL(path, base);
}

function suggestion(files: readonly HubFile[]): string {
  const models = files.map(({ path }) => path).filter(isModelFile);
  if (models.length === 0) return "";
  const more = models.length > 5 ? ", ..." : "";
  return `: it has ${models.slice(0, 5).join(", ")}${more}`;
}

/** What requests to the hub carry, and what is said when it refuses them. */
export function hubHttp(endpoint: URL, repo: string, token: AccessToken | undefined, retry: Http["retry"]): Http {
  let sent = false;
  return {
    retry,
    async authorization() {
      const secret = typeof token === "function" ? await token(repo) : token;
      sent = Boolean(secret);
      return secret ? `Bearer ${secret}` : undefined;
    },
    advice({ status }) {
      if (status === 404) return `there is no ${repo} or no such revision of it: check the name, capitals included`;
      if (status !== 401 && status !== 403) return undefined;
      const page = shown(hubUrl(endpoint, repo));
      const passing = sent
        ? "make sure that the access token you passed is of an account that may read it"
        : "pass an access token (the option `token`; for the command line HF_TOKEN)";
      return `${repo} does not exist, is private, or is gated: accept its licence at ${page} and ${passing}`;
    },
  };
}
