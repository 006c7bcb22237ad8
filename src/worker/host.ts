/** The worker's end: objects that pages call, by handle. */

import { InputError } from "../errors.ts";
import { fromWire, isReference, type Outcome, type PageMessage, toWire, type WorkerMessage } from "./wire.ts";

/** Methods by name, that a page may call. */
export type Methods = Readonly<Record<string, (...args: never[]) => unknown>>;

/** What methods work with. */
export interface HostObjects {
  /** Lets the page call an object by a handle of its choice. */
  add: (handle: number, methods: Methods, value: unknown, release?: () => void) => void;
  /** The page calls it no more. */
  remove: (handle: number) => void;
}

interface Held {
  methods: Methods;
  /** What arguments that name the handle mean. */
  value: unknown;
  release: (() => void) | undefined;
}

/** What a page holds of a worker. */
export class Host implements HostObjects {
  readonly #post: (message: WorkerMessage) => void;
  readonly #objects = new Map<number, Held>();
  readonly #signals = new Map<number, AbortController>();
  /** Signals that objects keep, by their handles. */
  readonly #kept = new Map<number, number[]>();
  readonly #asked = new Map<number, (result: Outcome) => void>();
  readonly #gone = new AbortController();
  #asks = 0;

  constructor(post: (message: WorkerMessage) => void) {
    this.#post = post;
  }

  /** Aborts when the page is gone. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  add(handle: number, methods: Methods, value: unknown, release?: () => void): void {
    if (this.#gone.signal.aborted) {
      release?.(); // it came too late
      return;
    }
    this.#objects.set(handle, { methods, value, release });
  }

  remove(handle: number): void {
    this.#objects.get(handle)?.release?.();
    this.#objects.delete(handle);
    for (const signal of this.#kept.get(handle) ?? []) this.#signals.delete(signal);
    this.#kept.delete(handle);
  }

  /** The page is gone. */
  close(): void {
    this.#gone.abort();
    for (const controller of this.#signals.values()) controller.abort();
    for (const handle of [...this.#objects.keys()]) this.remove(handle);
  }

  receive(message: PageMessage): void {
    switch (message.kind) {
      case "call":
        void this.#call(message);
        return;
      case "abort":
        this.#signals.get(message.signal)?.abort();
        return;
      case "answer":
        this.#asked.get(message.ask)?.(message.result);
        this.#asked.delete(message.ask);
        return;
      case "release":
        this.remove(message.target);
    }
  }

  async #call({ id, target, method, args, keeps }: PageMessage & { kind: "call" }): Promise<void> {
    const borrowed: number[] = [];
    try {
      const run = this.#objects.get(target)?.methods[method];
      if (!run) throw new Error(`the worker has no ${method} of object ${target}`);
      const value = await run(...(args.map((arg) => this.#borrow(arg, borrowed)) as never[]));
      this.#post({ kind: "result", id, result: { value } });
    } catch (error) {
      this.#post({ kind: "result", id, result: { error: toWire(error) } });
    } finally {
      if (keeps !== undefined && this.#objects.has(keeps)) this.#kept.set(keeps, borrowed);
      else for (const signal of borrowed) this.#signals.delete(signal);
    }
  }

  /** What numbers stand for. */
  #borrow(value: unknown, borrowed: number[]): unknown {
    const one = (item: unknown): unknown => {
      if (isReference(item, "signal")) {
        const controller = new AbortController();
        if ((item as { aborted?: boolean }).aborted) controller.abort();
        this.#signals.set(item.id, controller);
        borrowed.push(item.id);
        return controller.signal;
      }
      if (isReference(item, "function")) return this.#function(item.id);
      if (isReference(item, "object")) {
        const held = this.#objects.get(item.id);
        if (held) return held.value;
        const [found, expected] = ["an object of another worker, or one that is gone", "one that this model gave"];
        throw new InputError({ file: "worker", field: "argument", found, expected });
      }
      return item;
    };
    if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
    if ("reference" in value) return one(value);
    return Object.fromEntries(Object.entries(value).map(([field, item]) => [field, one(item)]));
  }

  /** A function of the page's. Its answer is there when the page has given it. */
  #function(id: number): (...args: unknown[]) => Promise<unknown> {
    return (...args) =>
      new Promise((resolve, reject) => {
        const ask = ++this.#asks;
        this.#asked.set(ask, (result) => ("error" in result ? reject(fromWire(result.error)) : resolve(result.value)));
        this.#post({ kind: "function", id, args, ask });
      });
  }
}
