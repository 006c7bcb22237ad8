/** Names of models on the Hugging Face hub: `hf:owner/name[@revision][/path]`, and addresses copied from its pages. */

import { SourceError } from "../errors.ts";

/** The hub itself, where no mirror is asked for. */
export const HUB = "https://huggingface.co";

export interface HubReference {
  /** `owner/name`. */
  repo: string;
  /** A branch, a tag or a commit. */
  revision: string;
  /** A folder or a file in the repository; empty for its root. */
  path: string;
}

/** One part of a path: no separators, and not the folder above. */
const PART = /^(?!\.{1,2}$)[\w.-]+$/;

export function isHubReference(source: string): boolean {
  return /^hf:/i.test(source);
}

/**
 * Reads `hf:owner/name[@revision][/path]`. A slash in a revision is written `%2F`.
 * @throws SourceError when it is not of that form
 */
export function parseHubReference(source: string): HubReference {
  const [owner = "", last = "", ...path] = source
    .replace(/^hf:(\/\/)?/i, "")
    .replace(/\/$/, "")
    .split("/");
  const [name = "", revision, ...rest] = last.split("@");
  const found = referenceOf(owner, name, decode(revision ?? "main"), path.map(decode));
  if (!found || rest.length > 0) {
    throw new SourceError(source, "is not of the form hf:owner/name[@revision][/file.gguf or folder]");
  }
  return found;
}

/**
 * What an address of one of the hub's pages or files names: `{endpoint}/owner/name[/(tree|blob|resolve)/revision[/path]]`.
 * @returns undefined where it is no such address
 */
export function hubReferenceOf(url: URL, endpoint: URL): HubReference | undefined {
  const base = endpoint.pathname.replace(/\/$/, "");
  if (url.origin !== endpoint.origin || !url.pathname.startsWith(`${base}/`)) return undefined;
  const [owner = "", name = "", kind, revision, ...path] = url.pathname
    .slice(base.length + 1)
    .replace(/\/$/, "")
    .split("/")
    .map(decode);
  if (kind === undefined) return referenceOf(owner, name, "main", []);
  if (!["tree", "blob", "resolve"].includes(kind) || !revision) return undefined;
  return referenceOf(owner, name, revision, path);
}

function referenceOf(owner: string, name: string, revision: string, path: string[]): HubReference | undefined {
  const right = PART.test(owner) && PART.test(name) && revision.split("/").every((part) => PART.test(part));
  // Names of files may hold more than names of repositories.
  if (!right || path.some((part) => part === "" || part === "." || part === "..")) return undefined;
  return { repo: `${owner}/${name}`, revision, path: path.join("/") };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
