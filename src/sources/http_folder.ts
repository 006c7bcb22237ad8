/** A folder below a URL, or one file at a URL. */

import type { Folder } from "../weights/source.ts";
import { directFolder } from "./direct_folder.ts";
import { type Http, shown } from "./exchange.ts";
import { openHttpFile } from "./http_file.ts";
import { isWholeFile } from "./model_file.ts";
import type { RemoteFolder } from "./remote.ts";
import { PATIENT } from "./retry.ts";

/**
 * What lies at `location`: the one file it names, where that is a whole model, else the files below it.
 * @param location taken as a folder whether or not it ends in a slash; its query goes with every file
 */
export function httpRemote(location: URL, http: Http = { retry: PATIENT }): RemoteFolder {
  const folder = new URL(location);
  folder.hash = "";
  const only = isWholeFile(folder.pathname) ? decodeURIComponent(folder.pathname.split("/").at(-1)!) : undefined;
  const name = only === undefined && !folder.pathname.endsWith("/") ? `${shown(folder)}/` : shown(folder);
  if (only !== undefined) folder.pathname = folder.pathname.replace(/[^/]*$/, "");
  else if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  return {
    name,
    pinned: false,
    async open(path, signal, retry) {
      if (only !== undefined && path !== only) return undefined;
      const url = new URL(path.split("/").map(encodeURIComponent).join("/"), folder);
      url.search = folder.search;
      return openHttpFile(url, http, signal, retry);
    },
    ...(only !== undefined && { list: async () => [only] }),
  };
}

/** The same, read without a cache. */
export function httpFolder(location: URL, http?: Http): Folder {
  return directFolder(httpRemote(location, http));
}
