/**
 * `layerleap/worker`: the script of a worker that holds models for pages. `load(source, { worker: true })` starts it, or joins it with
 * `worker: "shared"`; a page has no other use of it.
 *
 * A dedicated worker serves the page that started it, and pages whose ports that one passes on (src/worker/share.ts); a shared one every
 * page that connects.
 */

import { ModelShelf } from "./worker/model_shelf.ts";
import { receiver, serve } from "./worker/serve.ts";
import type { PageMessage, WorkerMessage } from "./worker/wire.ts";

/** The worker's global scope, as far as it is used; TypeScript's own types of it exclude those of pages. */
interface Scope {
  postMessage?(message: WorkerMessage): void;
  onmessage?: (event: { data: PageMessage | PortMessage }) => void;
  onconnect?: (event: { ports: readonly MessagePort[] }) => void;
}

/** A further page's port. */
interface PortMessage {
  kind: "port";
  port: MessagePort;
}

const scope = globalThis as unknown as Scope;
const shelf = new ModelShelf();

/** Serves a page behind a port. The port says first whether there is WebGPU here. */
async function connect(port: MessagePort): Promise<void> {
  const host = serve((message) => port.postMessage(message), shelf);
  port.onmessage = receiver(host);
  const adapter = await globalThis.navigator?.gpu?.requestAdapter().catch(() => null);
  port.postMessage({ kind: "ready", gpu: Boolean(adapter) } satisfies WorkerMessage);
}

if ("onconnect" in globalThis) {
  scope.onconnect = ({ ports }) => {
    for (const port of ports) void connect(port);
  };
} else {
  const host = serve((message) => scope.postMessage?.(message), shelf);
  const receive = receiver(host);
  scope.onmessage = ({ data }) => {
    if (data.kind === "port") void connect(data.port);
    else receive({ data });
  };
}
