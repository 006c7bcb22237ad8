/**
 * What rounds cost on a device, kept from load to load beside the downloads. It is a hint: what cannot be read or written is
 * measured again.
 */

import { sha256 } from "#platform";
import { storeOf } from "../sources/open.ts";
import type { SourceOptions } from "../types.ts";

/** Folder of the cache; models are in folders of other names. */
const FOLDER = "prices";

export interface PriceCache {
  /** What was written last for the key; undefined where there is nothing. */
  read(): Promise<unknown>;
  write(json: unknown): Promise<void>;
}

/** @param key all that prices depend on */
export function priceCache(options: Pick<SourceOptions, "cache">, key: object): PriceCache {
  const name = sha256()
    .update(new TextEncoder().encode(JSON.stringify(key)))
    .hex()
    .slice(0, 32);
  const path = `${FOLDER}/${name}.json`;
  const hint = <T>(work: () => Promise<T | undefined>): Promise<T | undefined> => work().catch(() => undefined);
  return {
    read: () =>
      hint(async () => {
        const bytes = await (await storeOf(options))?.read(path);
        return bytes && (JSON.parse(new TextDecoder().decode(bytes)) as unknown);
      }),
    write: (json) =>
      hint(async () => (await storeOf(options))?.write(path, [new TextEncoder().encode(JSON.stringify(json))])),
  };
}
