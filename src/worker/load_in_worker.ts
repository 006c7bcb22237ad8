/** `load` with `worker`: starts a worker, and loads the model there. */

import { abortable } from "../abortable.ts";
import { InputError, WorkerLostError } from "../errors.ts";
import type { LoadOptions, ModelSource } from "../types.ts";
import { Remote } from "./remote.ts";
import { sentSource } from "./sent_source.ts";
import type { ModelFacts } from "./serve.ts";
import { startShared } from "./share.ts";
import { heardOf, newWorker, newWorkerAt, portTo, type Started } from "./started.ts";
import { ROOT, servedLock } from "./wire.ts";
import { WorkerModel } from "./worker_model.ts";

/**
 * Which worker. `true`: one of the page's own. `"shared"`: one of all tabs of the site, which share models that they load with the same options.
 * Both run the library's own script, which bundlers find; where they do not, its URL (the package's `layerleap/worker`), or a worker that
 * runs it.
 */
export type WorkerChoice = true | "shared" | URL | Worker;

/**
 * Loads a model in a worker.
 * @throws as `load` does; InputError where there are no workers, or for what cannot cross; WorkerLostError where the script does not run
 */
export async function loadInWorker(
  source: ModelSource | undefined,
  worker: WorkerChoice,
  { gpu, ...options }: LoadOptions,
): Promise<WorkerModel> {
  if (typeof Worker === "undefined") {
    const [found, expected] = ["no workers here", "a page: in Node, `load` without it"];
    throw new InputError({ file: "load", field: "worker", found, expected });
  }
  if (gpu) {
    const [found, expected] = ["a GPU", "none with a worker, which has one of its own"];
    throw new InputError({ file: "load", field: "gpu", found, expected });
  }
  return await loadOver(() => (worker === "shared" ? startShared() : start(worker)), source, options);
}

/**
 * Loads a model in what is started.
 * @internal
 */
export async function loadOver(
  start: () => Started | Promise<Started>,
  source: ModelSource | undefined,
  options: LoadOptions,
): Promise<WorkerModel> {
  const sent = source === undefined ? undefined : sentSource(source);
  const adapter = options.exitAdapter;
  const exitAdapter = adapter && !(adapter instanceof Uint8Array) ? sentSource(adapter) : adapter;
  options.signal?.throwIfAborted();
  const { port, close, failed } = await start();
  const remote = new Remote(port);
  const unheard = failed((reason) => remote.lose(new WorkerLostError(reason)));
  const lives = new AbortController();
  const end = () => {
    lives.abort();
    unheard();
    remote.lose();
    close();
  };
  try {
    if (globalThis.navigator?.locks) await liveTogether(remote, lives.signal);
    const handle = remote.newHandle();
    const asked = { ...options, ...(exitAdapter !== undefined && { exitAdapter }) };
    const loading = remote.create(handle, ROOT, "load", sent, asked) as Promise<ModelFacts>;
    return new WorkerModel(remote, handle, await abortable(loading, options.signal), end);
  } catch (error) {
    end();
    throw error;
  }
}

/**
 * Page and worker each hold a lock while they live, and wait for the other's: whoever ends, however that comes, the other hears of it.
 * @param ends the page needs the worker no more
 */
async function liveTogether(remote: Remote, ends: AbortSignal): Promise<void> {
  const { locks } = navigator;
  const name = `layerleap page ${crypto.randomUUID()}`;
  await new Promise<void>((held, refused) => {
    const living = new Promise<void>((resolve) => ends.addEventListener("abort", () => resolve(), { once: true }));
    locks
      .request(name, () => {
        held();
        return living;
      })
      .catch(refused);
  });
  await remote.call(ROOT, "liveWith", name);
  locks.request(servedLock(name), { signal: ends }, () => remote.lose(new WorkerLostError())).catch(() => {}); // the page needs it no more
}

function start(choice: Exclude<WorkerChoice, "shared">): Started {
  if (choice instanceof Worker) return portTo(choice); // it is its owner's, and may serve others
  const worker = choice === true ? newWorker() : newWorkerAt(choice);
  return { port: worker, close: () => worker.terminate(), failed: heardOf(worker) };
}
