/** Workers that run the library's script, as ports to talk over. */

import { WorkerLostError } from "../errors.ts";
import type { Port } from "./remote.ts";

/** The script; the library's build puts it beside this one (vite.config.ts). */
declare const LAYERLEAP_WORKER: URL;

/** A worker: its port, how to end it, and how to hear that it failed. */
export interface Started {
  port: Port;
  close: () => void;
  /** @returns how to hear of it no more */
  failed: (heard: (reason: string) => void) => () => void;
}

// Bundlers look for `new Worker(new URL(...))` in these very words, and for options that are written out.

/** @throws WorkerLostError where the browser refuses to start it */
export function newWorker(): Worker {
  return started(() => new Worker(LAYERLEAP_WORKER, { type: "module", name: "layerleap" }));
}

/** The same, of a script that is elsewhere. @throws WorkerLostError */
export function newWorkerAt(script: URL): Worker {
  return started(() => new Worker(script, { type: "module", name: "layerleap" }));
}

/** The worker of all tabs. @throws WorkerLostError */
export function newSharedWorker(): SharedWorker {
  return started(() => new SharedWorker(LAYERLEAP_WORKER, { type: "module", name: "layerleap" }));
}

/** A port of one's own to a worker that may serve others. */
export function portTo(worker: Worker): Started {
  const { port1, port2 } = new MessageChannel();
  worker.postMessage({ kind: "port", port: port2 }, [port2]);
  return { port: port1, close: () => port1.close(), failed: heardOf(worker) };
}

/** How to hear that a worker's script failed. */
export function heardOf(worker: AbstractWorker): Started["failed"] {
  return (heard) => {
    const onError = (event: Event) => {
      event.preventDefault();
      heard(("message" in event && String(event.message)) || "its script could not be run");
    };
    worker.addEventListener("error", onError);
    return () => worker.removeEventListener("error", onError);
  };
}

function started<T>(start: () => T): T {
  try {
    return start();
  } catch (cause) {
    throw new WorkerLostError(`it could not be started: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}
