/** The page's end: calls to objects of the worker's, and what becomes of them. */

import { InputError, WorkerLostError } from "../errors.ts";
import { fromWire, type PageMessage, type Reference, toWire, type WorkerMessage } from "./wire.ts";

/** A worker, or a port to one that several pages share. */
export interface Port {
  postMessage(message: unknown, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent) => void) | null;
}

/** An object of the worker's, for arguments. */
export interface Handle {
  readonly handle: number;
}

interface Pending {
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  /** Takes back what the call has lent. */
  done: () => void;
}

export class Remote {
  readonly #port: Port;
  readonly #pending = new Map<number, Pending>();
  readonly #functions = new Map<number, (...args: never[]) => unknown>();
  /** What takes back what objects keep, by their handles. */
  readonly #kept = new Map<number, () => void>();
  /** Hears of objects of the page's that are gone, by the handles of what they stood for. */
  readonly #forgotten = new FinalizationRegistry<number>((handle) => this.release(handle));
  #ids = 0;
  #lost: Error | undefined;

  constructor(port: Port) {
    this.#port = port;
    port.onmessage = ({ data }) => this.#receive(data as WorkerMessage);
  }

  /** A number that nothing else has: for an object that the worker is to make. */
  newHandle(): number {
    return ++this.#ids;
  }

  /**
   * Calls a method of an object of the worker's.
   * @param args plain values, and in objects of the first level also functions, abort signals, and handles
   * @throws what the method throws; the reason of a signal among the arguments; WorkerLostError
   */
  call(target: number, method: string, ...args: unknown[]): Promise<unknown> {
    return this.#send(target, method, args, undefined);
  }

  /**
   * The same, of a method that makes an object, which keeps what it was given until it is released.
   * @param handle of the object; the method's first argument
   */
  create(handle: number, target: number, method: string, ...args: unknown[]): Promise<unknown> {
    return this.#send(target, method, [handle, ...args], handle);
  }

  #send(target: number, method: string, args: unknown[], keeps: number | undefined): Promise<unknown> {
    if (this.#lost) return Promise.reject(this.#lost);
    const id = ++this.#ids;
    const lent: (() => void)[] = [];
    const signals: AbortSignal[] = [];
    const sent = args.map((arg) => this.#lend(arg, lent, signals));
    return new Promise((resolve, reject) => {
      const done = () => {
        for (const takeBack of lent) takeBack();
      };
      // The worker tells only that a signal aborted: who aborted gets the reason itself.
      const rejected = (error: unknown) => {
        if (keeps !== undefined) this.release(keeps); // nothing was made
        const aborted = isAbort(error) ? signals.find((signal) => signal.aborted) : undefined;
        reject(aborted ? aborted.reason : error);
      };
      if (keeps !== undefined) this.#kept.set(keeps, done);
      this.#pending.set(id, { resolve, reject: rejected, done: keeps === undefined ? done : () => {} });
      try {
        this.#post({ kind: "call", id, target, method, args: sent, ...(keeps !== undefined && { keeps }) });
      } catch (error) {
        this.#pending.delete(id);
        if (keeps !== undefined) this.#kept.delete(keeps); // the worker has never heard of it
        done();
        const [found, expected] = ["what cannot be sent to a worker", "plain values, signals and functions"];
        const finding = { file: method, field: "argument", found, expected };
        reject(error instanceof DOMException ? new InputError(finding, { cause: error }) : error);
      }
    });
  }

  /** Releases an object when what stands for it in the page has been collected, unless it has been released by then. */
  releaseWith(standIn: object, handle: number): void {
    this.#forgotten.register(standIn, handle, standIn);
  }

  /** The worker needs an object no more. @param standIn what `releaseWith` was told of it */
  release(target: number, standIn?: object): void {
    if (standIn) this.#forgotten.unregister(standIn);
    this.#kept.get(target)?.();
    this.#kept.delete(target);
    if (!this.#lost) this.#post({ kind: "release", target });
  }

  /** The worker is gone: whoever waits is told, and whoever calls. */
  lose(error: Error = new WorkerLostError()): void {
    this.#lost ??= error;
    for (const takeBack of this.#kept.values()) takeBack();
    this.#kept.clear();
    for (const { reject, done } of this.#pending.values()) {
      done();
      reject(error);
    }
    this.#pending.clear();
  }

  #receive(message: WorkerMessage): void {
    if (message.kind === "function") {
      void this.#callBack(message);
      return;
    }
    if (message.kind === "ready") return;
    const pending = this.#pending.get(message.id);
    if (!pending) return;
    this.#pending.delete(message.id);
    pending.done();
    if ("error" in message.result) pending.reject(fromWire(message.result.error));
    else pending.resolve(message.result.value);
  }

  async #callBack({ id, args, ask }: WorkerMessage & { kind: "function" }): Promise<void> {
    try {
      const value = await this.#functions.get(id)?.(...(args as never[]));
      this.#post({ kind: "answer", ask, result: { value } });
    } catch (error) {
      this.#post({ kind: "answer", ask, result: { error: toWire(error) } });
    }
  }

  /** Numbers for what cannot be cloned, in an argument or in an object of its first level. */
  #lend(value: unknown, lent: (() => void)[], signals: AbortSignal[]): unknown {
    const one = (item: unknown): unknown => {
      if (item instanceof AbortSignal) {
        signals.push(item);
        return this.#lendSignal(item, lent);
      }
      if (typeof item === "function") {
        const id = ++this.#ids;
        this.#functions.set(id, item as (...args: never[]) => unknown);
        lent.push(() => this.#functions.delete(id));
        return { reference: "function", id } satisfies Reference;
      }
      if (isHandle(item)) return { reference: "object", id: item.handle } satisfies Reference;
      if (item instanceof URL) return item.href;
      return item;
    };
    if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) {
      return one(value);
    }
    return Object.fromEntries(Object.entries(value).map(([field, item]) => [field, one(item)]));
  }

  #lendSignal(signal: AbortSignal, lent: (() => void)[]): unknown {
    const id = ++this.#ids;
    const abort = () => {
      if (!this.#lost) this.#post({ kind: "abort", signal: id });
    };
    signal.addEventListener("abort", abort, { once: true });
    lent.push(() => signal.removeEventListener("abort", abort));
    return { reference: "signal", id, aborted: signal.aborted };
  }

  #post(message: PageMessage): void {
    this.#port.postMessage(message);
  }
}

function isHandle(value: unknown): value is Handle {
  return typeof value === "object" && value !== null && "handle" in value && typeof value.handle === "number";
}

/** Whether an error that arrived says that a signal has aborted. */
function isAbort(error: unknown): boolean {
  return typeof error === "object" && error !== null && "name" in error && error.name === "AbortError";
}
