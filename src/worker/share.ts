/**
 * One worker for all tabs of a site: a shared worker where those have WebGPU; elsewhere the worker of one tab, which is chosen by a lock, and
 * whose messages it passes on over a channel.
 *
 * A tab that closes, however it does, gives back what it holds: it keeps a lock as long as it lives, and the worker waits for that.
 * When the tab closes that has the worker, the others' models are lost (WorkerLostError); who loads again finds the next tab's.
 */

import { InputError, WorkerLostError } from "../errors.ts";
import type { Port } from "./remote.ts";
import { heardOf, newSharedWorker, newWorker, portTo, type Started } from "./started.ts";
import type { PageMessage, WorkerMessage } from "./wire.ts";

/** How long a shared worker may take to say whether it has WebGPU. */
const PATIENCE_MS = 10_000;
/** How long a leader may take to answer, and how often it is asked anew who leads. */
const ANSWER_MS = 2000;
const ATTEMPTS = 4;

const LEADER = "layerleap leader";
const CHANNEL = "layerleap";

/** What goes over the channel. */
type ChannelMessage =
  /** To the leader, and from it. */
  | { to: "leader"; from: string; data: PageMessage }
  | { to: string; data: WorkerMessage }
  /** Who leads? The leader says so, also when it becomes one. */
  | { ask: true }
  | { leads: string }
  /** A tab needs the worker no more. */
  | { leaves: string };

/**
 * Joins the worker of the site's tabs, or starts it.
 * @throws InputError where there are no locks; WorkerLostError where it cannot be started
 */
export async function startShared(): Promise<Started> {
  if (!globalThis.navigator?.locks) {
    const [found, expected] = ['"shared", but no locks here', "a page of a secure origin"];
    throw new InputError({ file: "load", field: "worker", found, expected });
  }
  return (await sharedWorker()) ?? (await leadersWorker());
}

async function sharedWorker(): Promise<Started | undefined> {
  if (typeof SharedWorker === "undefined") return undefined;
  const worker = newSharedWorker();
  const { port } = worker;
  const ready = await new Promise<boolean>((resolve) => {
    const patience = setTimeout(() => resolve(false), PATIENCE_MS);
    const done = (gpu: boolean) => {
      clearTimeout(patience);
      resolve(gpu);
    };
    worker.onerror = () => done(false);
    port.onmessage = ({ data }: MessageEvent<WorkerMessage>) => data.kind === "ready" && done(data.gpu);
  });
  if (!ready) {
    port.close();
    return undefined;
  }
  return { port, close: () => port.close(), failed: heardOf(worker) };
}

/** This tab's worker that it leads with, if it does. */
let leading: Promise<Worker | undefined> | undefined;

async function leadersWorker(): Promise<Started> {
  for (let attempt = 0; ; attempt++) {
    leading ??= lead();
    const worker = await leading;
    if (worker) return portTo(worker);
    const started = await overChannel();
    if (started) return started;
    // A tab that led is gone, and another has yet to ask.
    if (attempt === ATTEMPTS) throw new WorkerLostError("no tab has it");
  }
}

/** Becomes the leader, unless another tab is. */
async function lead(): Promise<Worker | undefined> {
  try {
    return await new Promise((resolve, reject) => {
      navigator.locks
        .request(LEADER, { ifAvailable: true }, async (lock) => {
          if (!lock) {
            leading = undefined; // asked again next time
            resolve(undefined);
            return;
          }
          const worker = newWorker();
          await ready(worker);
          passOn(worker);
          resolve(worker);
          await new Promise(() => {}); // as long as this tab lives
        })
        .catch(reject);
    });
  } catch (error) {
    leading = undefined;
    throw error;
  }
}

/** Waits until a worker's script runs. @throws WorkerLostError where it cannot be run */
async function ready(worker: Worker): Promise<void> {
  const { port, close, failed } = portTo(worker);
  let unheard = () => {};
  try {
    await new Promise<void>((resolve, reject) => {
      unheard = failed((reason) => reject(new WorkerLostError(reason)));
      port.onmessage = () => resolve();
    });
  } catch (error) {
    worker.terminate();
    throw error;
  } finally {
    unheard();
    close();
  }
}

/** Passes on what other tabs and the worker say to each other. */
function passOn(worker: Worker): void {
  const channel = new BroadcastChannel(CHANNEL);
  const me = crypto.randomUUID();
  const ports = new Map<string, MessagePort>();
  channel.onmessage = ({ data }: MessageEvent<ChannelMessage>) => {
    if ("ask" in data) channel.postMessage({ leads: me } satisfies ChannelMessage);
    if ("leaves" in data) {
      ports.get(data.leaves)?.close();
      ports.delete(data.leaves);
    }
    if (!("from" in data)) return;
    let port = ports.get(data.from);
    if (!port) {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = ({ data: answer }) =>
        channel.postMessage({ to: data.from, data: answer } satisfies ChannelMessage);
      worker.postMessage({ kind: "port", port: port2 }, [port2]);
      ports.set(data.from, port1);
      port = port1;
    }
    port.postMessage(data.data);
  };
  channel.postMessage({ leads: me } satisfies ChannelMessage);
}

/** A port over the channel, to the leader's worker; undefined where no tab says that it leads. */
async function overChannel(): Promise<Started | undefined> {
  const channel = new BroadcastChannel(CHANNEL);
  const me = crypto.randomUUID();
  let leader: string | undefined;
  let lost: (reason: string) => void = () => {};
  const port: Port = {
    onmessage: null,
    postMessage: (data) =>
      channel.postMessage({ to: "leader", from: me, data: data as PageMessage } satisfies ChannelMessage),
  };
  const isLed = await new Promise<boolean>((resolve) => {
    const patience = setTimeout(() => resolve(false), ANSWER_MS);
    channel.onmessage = ({ data }: MessageEvent<ChannelMessage>) => {
      if ("leads" in data) {
        if (leader !== undefined && leader !== data.leads) lost("the tab that had it was closed");
        leader = data.leads;
        clearTimeout(patience);
        resolve(true);
      } else if ("to" in data && data.to === me && !("from" in data)) {
        port.onmessage?.(new MessageEvent("message", { data: data.data }));
      }
    };
    channel.postMessage({ ask: true } satisfies ChannelMessage);
  });
  if (!isLed) {
    channel.close();
    return undefined;
  }
  // When the leader's tab closes, its lock is free.
  const waiting = new AbortController();
  navigator.locks
    .request(LEADER, { signal: waiting.signal }, () => lost("the tab that had it was closed"))
    .catch(() => {}); // this tab needs it no more
  return {
    port,
    close: () => {
      waiting.abort();
      channel.postMessage({ leaves: me } satisfies ChannelMessage);
      channel.close();
    },
    failed: (heard) => {
      lost = heard;
      return () => {
        lost = () => {};
      };
    },
  };
}
