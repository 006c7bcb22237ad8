/** The library's own scripts, which come when they are called for. */

import { SourceError } from "./errors.ts";

/**
 * What `import()` gives.
 * @throws SourceError where the script cannot be fetched: no network, or an app that was deployed anew under other names
 */
export async function script<T>(fetching: Promise<T>): Promise<T> {
  try {
    return await fetching;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SourceError("layerleap", `a script of the library could not be loaded (${reason}): load the page again`, {
      cause,
    });
  }
}
