/** A process of its own that reads a model through the cache: `endpoint folder`. Prints the SHA-256 of the large file. */

import { openSource } from "../../src/sources/open.ts";
import { sha256 } from "../sources/hub_server.ts";

const [endpoint = "", cache = ""] = process.argv.slice(2);
const folder = await openSource("hf:owner/name", { endpoint, cache: { folder: cache } });
const source = (await folder.open("model.safetensors"))!;
const bytes = await source.read(0, source.size);
await folder.verified?.();
await source.close();
process.stdout.write(sha256(bytes));
