/** `load` with `worker`: starts a worker, and loads the model there. */

import { abortable } from "../abortable.ts";
import { InputError, WorkerLostError } from "../errors.ts";
import type { LoadOptions, ModelSource } from "../types.ts";
import { type Port, Remote } from "./remote.ts";
import { sentSource } from "./sent_source.ts";
import type { ModelFacts } from "./serve.ts";
import { WorkerModel } from "./worker_model.ts";

/** The script of the worker; bundlers find it where the library's build puts it beside this one (vite.config.ts). */
declare const LAYERLEAP_WORKER: URL;

/** As `LoadOptions.worker`, but for false. */
export type WorkerChoice = true | URL | string | Worker;

/** The worker's own handle. */
const ROOT = 0;

/**
 * Loads a model in a worker.
 * @throws as `load` does; InputError where there are no workers, or for what cannot cross; WorkerLostError where the script does not run
 */
export async function loadInWorker(
  source: ModelSource | undefined,
  worker: WorkerChoice,
  { gpu, ...options }: LoadOptions,
): Promise<WorkerModel> {
  if (gpu) {
    const [found, expected] = ["a GPU", "none with a worker, which has one of its own"];
    throw new InputError({ file: "load", field: "gpu", found, expected });
  }
  return await loadOver(() => start(worker), source, options);
}

/**
 * Loads a model in what is started.
 * @internal
 */
export async function loadOver(
  start: () => Started,
  source: ModelSource | undefined,
  options: LoadOptions,
): Promise<WorkerModel> {
  const sent = source === undefined ? undefined : sentSource(source);
  const adapter = options.exitAdapter;
  const exitAdapter = adapter && !(adapter instanceof Uint8Array) ? sentSource(adapter) : adapter;
  options.signal?.throwIfAborted();
  const { port, close, failed } = start();
  const remote = new Remote(port);
  const lost = failed((reason) => remote.lose(new WorkerLostError(reason)));
  const end = () => {
    lost();
    remote.lose();
    close();
  };
  try {
    const handle = remote.newHandle();
    const asked = { ...options, ...(exitAdapter !== undefined && { exitAdapter }) };
    const loading = remote.call(ROOT, "load", handle, sent, asked) as Promise<ModelFacts>;
    return new WorkerModel(remote, handle, await abortable(loading, options.signal), end);
  } catch (error) {
    end();
    throw error;
  }
}

/** A worker: its port, how to end it, and how to hear that it failed. */
export interface Started {
  port: Port;
  close: () => void;
  /** @returns how to hear of it no more */
  failed: (heard: (reason: string) => void) => () => void;
}

function start(choice: WorkerChoice): Started {
  if (typeof Worker === "undefined") {
    const [found, expected] = ["no workers here", "a page: in Node, `load` without it"];
    throw new InputError({ file: "load", field: "worker", found, expected });
  }
  const worker =
    choice instanceof Worker
      ? choice
      : choice === true
        ? new Worker(LAYERLEAP_WORKER, { type: "module", name: "layerleap" })
        : new Worker(choice, { type: "module", name: "layerleap" });
  return {
    port: worker,
    close: () => worker.terminate(),
    failed: (heard) => {
      const onError = (event: ErrorEvent) => {
        event.preventDefault();
        heard(event.message || "its script could not be run");
      };
      worker.addEventListener("error", onError);
      return () => worker.removeEventListener("error", onError);
    },
  };
}
