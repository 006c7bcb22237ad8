/**
 * What crosses between a page and the worker that holds its model: calls, answers, and what calls them back.
 *
 * A call names an object of the worker's by its handle and a method of it. What cannot be cloned goes by number:
 * abort signals, functions and objects of the worker's. Errors arrive as the classes that they are.
 */

import * as errors from "../errors.ts";

/** The handle of the worker itself. */
export const ROOT = 0;

/** From the page. */
export type PageMessage =
  /** `keeps`: the handle of the object that it makes, which keeps the signals that it was given. */
  | { kind: "call"; id: number; target: number; method: string; args: unknown[]; keeps?: number }
  /** A signal that a call was given has aborted. */
  | { kind: "abort"; signal: number }
  /** What a function of the page's has given. */
  | { kind: "answer"; ask: number; result: Outcome }
  /** The page holds an object no more. */
  | { kind: "release"; target: number };

/** From the worker. */
export type WorkerMessage =
  /** First of all, over a port: whether the worker has WebGPU. */
  | { kind: "ready"; gpu: boolean }
  | { kind: "result"; id: number; result: Outcome }
  /** A function of the page's is called; its answer names `ask`. */
  | { kind: "function"; id: number; args: unknown[]; ask: number };

export type Outcome = { value: unknown } | { error: WireError };

/** An error as it crosses. */
export type WireError =
  /** One of the library's: its class, and its fields. */
  | { class: string; fields: Record<string, unknown>; stack: string | undefined; cause?: WireError }
  /** One of the platform's, by its name, such as AbortError. */
  | { exception: string; message: string }
  /** One that is cloned, such as a TypeError. */
  | { thrown: unknown };

/** The lock that a worker holds for a page, by that which the page holds while it lives. */
export function servedLock(life: string): string {
  return `${life}, served`;
}

/** Stands for what cannot be cloned. */
export interface Reference {
  reference: "signal" | "function" | "object";
  id: number;
}

export function isReference(value: unknown, kind: Reference["reference"]): value is Reference {
  return typeof value === "object" && value !== null && "reference" in value && value.reference === kind;
}

const CLASSES = new Map<string, typeof errors.LayerLeapError>(
  Object.entries(errors).filter(([, value]) => value.prototype instanceof Error) as [
    string,
    typeof errors.LayerLeapError,
  ][],
);

/** An error on its way. */
export function toWire(error: unknown): WireError {
  if (error instanceof DOMException) return { exception: error.name, message: error.message }; // Node clones none
  if (!(error instanceof errors.LayerLeapError)) return { thrown: cloneable(error) };
  const { name, stack, message, cause } = error;
  const own = Object.entries(error).filter(([field]) => field !== "cause" && field !== "stack");
  return {
    class: name,
    fields: { ...Object.fromEntries(own), message },
    stack,
    ...(cause !== undefined && { cause: toWire(cause) }),
  };
}

/** The error that it was. */
export function fromWire(wire: WireError): unknown {
  if ("thrown" in wire) return wire.thrown;
  if ("exception" in wire) return new DOMException(wire.message, wire.exception);
  const { class: name, fields, stack, cause } = wire;
  const known = CLASSES.get(name) ?? errors.LayerLeapError;
  const error: Error = Reflect.construct(Error, [], known);
  for (const [field, value] of Object.entries(fields)) {
    Object.defineProperty(error, field, { value, enumerable: field !== "message", configurable: true, writable: true });
  }
  if (stack !== undefined) Object.defineProperty(error, "stack", { value: stack, configurable: true, writable: true });
  if (cause !== undefined) {
    Object.defineProperty(error, "cause", { value: fromWire(cause), configurable: true, writable: true });
  }
  return error;
}

/** What a page can be sent: an error of no known kind as its words. */
function cloneable(error: unknown): unknown {
  try {
    structuredClone(error);
    return error;
  } catch {
    return new Error(String(error));
  }
}
