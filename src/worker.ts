/**
 * `layerleap/worker`: the script of a worker that holds models for pages. `load(source, { worker: true })` starts it; a page has no other
 * use of it.
 */

import { ModelShelf } from "./worker/model_shelf.ts";
import { receiver, serve } from "./worker/serve.ts";
import type { PageMessage } from "./worker/wire.ts";

/** The worker's global scope, as far as it is used; TypeScript's own types of it exclude those of pages. */
interface Scope {
  postMessage(message: unknown): void;
  onmessage: ((event: { data: PageMessage }) => void) | null;
}

const scope = globalThis as unknown as Scope;
const host = serve((message) => scope.postMessage(message), new ModelShelf());
scope.onmessage = receiver(host);
