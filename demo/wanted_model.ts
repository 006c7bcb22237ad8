/** What is to be loaded and what the page calls it: from what somebody typed, picked or dropped. */

import type { ModelSource } from "../src/index.ts";
import { STORIES_FOLDER } from "./stories.ts";

export interface WantedModel {
  source: ModelSource;
  /** What the page calls it. */
  label: string;
  /** Its repository, undefined for what is not on a hub. */
  repository?: { hub: URL; page: URL };
}

/** The hub that names without an address are looked up at. */
export const HUB = "https://huggingface.co/";

/** The model that comes with the page. */
export const STORIES: WantedModel = { source: STORIES_FOLDER, label: "stories260k-layerskip" };

/** Models that are known to run, to be offered while a name is typed. */
export const SUGGESTIONS: readonly string[] = [
  "HuggingFaceTB/SmolLM2-135M-Instruct",
  "Qwen/Qwen3-0.6B",
  "facebook/layerskip-llama3.2-1B",
];

/**
 * What a line of text names: `owner/name` and what else `hf:` takes, with or without it; a URL; a path that begins with `/`
 * or `.`, as the page's own URLs; nothing, for the model that comes with the page. What is none of them is left to the
 * library, which says what it expects.
 */
export function typedModel(text: string, hub: URL): WantedModel {
  const typed = text.trim().replace(/^(?=(www\.)?huggingface\.co\/)/i, "https://");
  if (typed === "") return STORIES;
  if (/^(https?:\/\/|[./])/i.test(typed)) return modelAt(new URL(typed, document.baseURI), hub);
  const name = typed.replace(/^hf:(\/\/)?/i, "");
  return { source: `hf:${name}`, label: name, repository: repositoryOf(name, hub) };
}

/** Whether it has to come over the network. */
export function isRemote({ source }: WantedModel): boolean {
  return typeof source === "string" || source instanceof URL;
}

/** Files that make up a model. */
export function modelOfFiles(files: readonly File[], folder?: string): WantedModel {
  const label = folder ?? (files.length === 1 ? files[0]?.name : undefined) ?? `${files.length} files`;
  return { source: files, label };
}

function modelAt(url: URL, hub: URL): WantedModel {
  const label = decodeURIComponent(url.pathname).split("/").filter(Boolean).at(-1) ?? url.host;
  return { source: url, label, ...(url.origin === hub.origin && { repository: repositoryOf(url.pathname, hub) }) };
}

/** @param path begins with `owner/name` */
function repositoryOf(path: string, hub: URL): WantedModel["repository"] {
  const [owner = "", name = ""] = path.split("/").filter(Boolean);
  return { hub, page: new URL(`${owner}/${name.replace(/@.*/, "")}`, hub) };
}
