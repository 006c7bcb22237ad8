/**
 * Reads JSON that came from outside: parsed once, each field checked where it is taken, each error naming the file, the
 * field, what stood there and what was expected.
 */

import { FileFormatError } from "./errors.ts";

/** Characters of a foreign text, and elements of a foreign array, that a message quotes. */
const QUOTE_LENGTH = 80;
const QUOTE_ELEMENTS = 8;

/** How `value` reads in an error message: short, on one line, and without recursion, as it may be nested without end. */
export function quote(value: unknown): string {
  if (!Array.isArray(value)) return quoteElement(value);
  const more = value.length > QUOTE_ELEMENTS ? ", ..." : "";
  return `[${value.slice(0, QUOTE_ELEMENTS).map(quoteElement).join(", ")}${more}]`;
}

function quoteElement(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") {
    return value.length > QUOTE_LENGTH ? `${JSON.stringify(value.slice(0, QUOTE_LENGTH))}...` : JSON.stringify(value);
  }
  if (typeof value !== "object" || value === null) return String(value);
  return Array.isArray(value) ? "[...]" : "an object";
}

/**
 * Parses JSON text.
 * @throws FileFormatError when it is none; the message quotes how the text begins, as that tells an HTML page or a Git LFS
 * pointer, which servers and clones hand out in place of the file.
 */
export function parseJson(text: string, file: string, field = "JSON"): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.replace(/\s+/g, " ").slice(0, 2 * QUOTE_LENGTH) : "";
    const found = text.trim() === "" ? "nothing" : `text that begins with ${quote(text.trimStart().slice(0, 40))}`;
    throw new FileFormatError({ file, field, found: `${found} (${reason})`, expected: "valid JSON" }, { cause });
  }
}

/** Bounds of a number, both inclusive, and what stands in for an absent or null field. */
export interface NumberField {
  min: number;
  max: number;
  /** Without it the field is required. */
  fallback?: number;
}

/** The fields of one JSON object. Absent and null are the same, as in Hugging Face's configs. */
export class Fields {
  readonly file: string;
  /** Path of this object inside the file; empty for the file's own object. */
  readonly path: string;
  readonly #object: object;
  readonly #named: (path: string) => string;

  /**
   * @param named what a field is called in the file, by its path here, where that is something else
   * @throws FileFormatError when `value` is not an object.
   */
  constructor(value: unknown, file: string, path = "", named = (path: string) => path) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new FileFormatError({ file, field: named(path) || "JSON", found: quote(value), expected: "an object" });
    }
    this.file = file;
    this.path = path;
    this.#object = value;
    this.#named = named;
  }

  #path(key: string): string {
    return this.path ? `${this.path}.${key}` : key;
  }

  /** Full name of a field, for messages. */
  name(key: string): string {
    return this.#named(this.#path(key));
  }

  /** The field as it stands; undefined when it is absent or null. */
  get(key: string): unknown {
    const value = Object.hasOwn(this.#object, key) ? (this.#object as Record<string, unknown>)[key] : undefined;
    return value ?? undefined;
  }

  /** All fields in the file's order. */
  entries(): [string, unknown][] {
    return Object.entries(this.#object);
  }

  /** The error for a field that is not as `expected`. */
  error(key: string, expected: string, found = quote(this.get(key))): FileFormatError {
    return new FileFormatError({ file: this.file, field: this.name(key), found, expected });
  }

  /** @throws FileFormatError when it is there and not an object. */
  object(key: string): Fields | undefined {
    const value = this.get(key);
    return value === undefined ? undefined : new Fields(value, this.file, this.#path(key), this.#named);
  }

  /** @throws FileFormatError when it is not a string. */
  string(key: string): string {
    const value = this.get(key);
    if (typeof value !== "string") throw this.error(key, "a string");
    return value;
  }

  /** @throws FileFormatError when it is there and not a boolean. */
  boolean(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    if (typeof value !== "boolean") throw this.error(key, "true or false");
    return value;
  }

  /** @throws FileFormatError when it is not an integer within the bounds, or absent without a fallback. */
  integer(key: string, { min, max, fallback }: NumberField): number {
    const value = this.get(key) ?? fallback;
    if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max) {
      throw this.error(key, `an integer from ${min} to ${max}`);
    }
    return value as number;
  }

  /** @throws FileFormatError when it is not a positive finite number, or absent without a fallback. */
  positive(key: string, fallback?: number): number {
    const value = this.get(key) ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value) || value <= 0) throw this.error(key, "a positive number");
    return value;
  }

  /** A positive number under a name of ours, or nothing where the field is absent. @throws FileFormatError when it is neither. */
  given<K extends string>(name: K, key: string): Partial<Record<K, number>> {
    if (this.get(key) === undefined) return {};
    return { [name]: this.positive(key) } as Partial<Record<K, number>>;
  }

  /** An array of positive numbers. @throws FileFormatError when it is none. */
  positives(key: string): number[] {
    const value = this.get(key);
    const isPositive = (x: unknown): x is number => typeof x === "number" && Number.isFinite(x) && x > 0;
    if (!Array.isArray(value) || !value.every(isPositive)) throw this.error(key, "an array of positive numbers");
    return value;
  }
}
