/** The options that say how a model is reached, out of those of a load or a check. */

import type { SourceOptions } from "../types.ts";

export function sourceOptions({
  endpoint,
  token,
  cache,
  onDownload,
  signal,
}: SourceOptions & { signal?: AbortSignal }): SourceOptions & { signal?: AbortSignal } {
  return {
    ...(endpoint !== undefined && { endpoint }),
    ...(token !== undefined && { token }),
    ...(cache !== undefined && { cache }),
    ...(onDownload && { onDownload }),
    ...(signal && { signal }),
  };
}
