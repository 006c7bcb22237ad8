/** The embedded model on a hub of its own, and a cache to keep it in. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { HubServer } from "../sources/hub_server.ts";
import { temporaryFolder } from "../weights/model_folder.ts";
import { MODEL } from "./command.ts";

/** Its name there. */
export const NAME = "hf:owner/name";

/** A hub that has the model, until the test ends, and the environment of a command that asks it. */
export async function hub() {
  const names = readdirSync(MODEL).filter((name) => name !== "golden.json");
  const server = await HubServer.start(
    Object.fromEntries(names.map((name) => [name, readFileSync(join(MODEL, name))])),
  );
  onTestFinished(() => server.stop());
  const env = { LAYERLEAP_CACHE: temporaryFolder(), HF_ENDPOINT: server.endpoint, HF_TOKEN: "hf_secret" };
  return { server, env };
}

/** Answers the first bytes of a large file, and no more. */
export function stall(server: HubServer): void {
  server.meddle = ({ at, range }, response) => {
    if (at !== "cdn") return false;
    const [begin, end] = range!;
    const headers = { "content-length": end - begin, "content-range": `bytes ${begin}-${end - 1}/${end}` };
    response.writeHead(206, headers).write("the beginning of it");
    return true;
  };
}
