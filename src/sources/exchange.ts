/**
 * One HTTP request and its answer.
 *
 * Tells apart what another try may mend (`ConnectionError`: no connection, a broken one, a silent one) from what it may
 * not. An abort ends waiting at once, wherever it happens.
 */

import { InputError, SourceError } from "../errors.ts";
import { isPassing, pause, type RetryPolicy, waitBeforeRetry } from "./retry.ts";

/** What requests to one place have in common. */
export interface Http {
  retry: RetryPolicy;
  /**
   * The `Authorization` header, where one is wanted. `fetch` drops it on a redirect to another origin (Fetch standard, HTTP-redirect
   * fetch, step 13).
   */
  authorization?(): Promise<string | undefined>;
  /** What to do about a status that refuses; undefined where there is nothing to add. */
  advice?(response: Response): string | undefined;
}

/** The connection could not be made, or broke off, or fell silent. */
export class ConnectionError extends SourceError {
  /** Whether all attempts were made already. */
  exhausted = false;
}

/** An answer whose body is still to come. To be read to its end, or cancelled. */
export interface Exchange {
  readonly response: Response;
  /**
   * The body as it comes. `signal` takes the place of the one that the request was made with.
   * @throws ConnectionError when it breaks off or falls silent; the signal's reason
   */
  bytes(signal?: AbortSignal): AsyncGenerator<Uint8Array>;
  cancel(): Promise<void>;
}

/** What helps where the network says why there is no connection. */
const TOLD = "check the address and the network";
/** Browsers do not say it: they do not even tell an absent network from a server that does not let other pages read it. */
const UNTOLD = `${TOLD}; a page can read another server only where that allows it (CORS, Access-Control-Allow-Origin)`;

/** Bytes `[begin, end)`. */
export type Range = readonly [begin: number, end: number];

/** A URL as messages show it: queries may hold a signature, and the user part a password. */
export function shown(url: URL): string {
  return url.origin === "null" ? url.href.replace(/[?#].*$/s, "") : `${url.origin}${url.pathname}`;
}

/**
 * Asks, and asks again while the server says "not now".
 * @throws ConnectionError when there is no connection after all attempts; InputError for a token that no header can hold; the
 * signal's reason
 * @returns the answer, whatever its status
 */
export async function request(
  url: URL,
  { retry, authorization }: Http,
  { range, accept, signal }: { range?: Range; accept?: string; signal?: AbortSignal } = {},
): Promise<Exchange> {
  const headers = new Headers();
  if (range) headers.set("range", `bytes=${range[0]}-${range[1] - 1}`);
  if (accept) headers.set("accept", accept);
  const secret = await authorization?.();
  if (secret) headers.set("authorization", headerOf(secret));
  for (let failures = 1; ; failures++) {
    signal?.throwIfAborted();
    const answer = await exchange(url, headers, retry.silenceMs, signal).catch((error: unknown) => {
      if (error instanceof ConnectionError) return error;
      throw error;
    });
    if (!(answer instanceof ConnectionError) && !isPassing(answer.response.status)) return answer;
    const after = answer instanceof ConnectionError ? undefined : answer.response.headers.get("retry-after");
    const wait = waitBeforeRetry(retry, failures, after);
    if (wait === undefined) {
      if (!(answer instanceof ConnectionError)) return answer;
      answer.exhausted = true;
      throw answer;
    }
    if (!(answer instanceof ConnectionError)) await answer.cancel();
    await pause(wait, signal);
  }
}

/** Checked here, as the error of `Headers` quotes the value. */
function headerOf(secret: string): string {
  const value = secret.trim();
  if (/^[ -~]*$/.test(value)) return value;
  const found = "a text with line breaks or characters outside ASCII";
  throw new InputError({ file: "load", field: "token", found, expected: "an access token on one line" });
}

async function exchange(url: URL, headers: Headers, silenceMs: number, signal?: AbortSignal): Promise<Exchange> {
  const watch = new Watch(url, silenceMs, signal);
  try {
    const response = await watch.over(
      "could not be fetched",
      () => fetch(url, { headers, signal: watch.signal }),
      true,
    );
    return {
      response,
      bytes(signal) {
        watch.follow(signal);
        return bytesOf(response, watch);
      },
      async cancel() {
        watch.stop();
        // Bodies that broke already have nothing left to cancel.
        await response.body?.cancel().catch(() => {});
      },
    };
  } catch (error) {
    watch.stop();
    throw error;
  }
}

async function* bytesOf(response: Response, watch: Watch): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  let ended = !reader;
  try {
    while (reader && !ended) {
      const { done, value } = await watch.over("the download broke off", () => reader.read());
      ended = done;
      if (value) yield value;
    }
  } finally {
    // Left before its end: the rest shall not come.
    if (!ended) await reader?.cancel().catch(() => {});
    watch.stop();
  }
}

/** Ends waiting for the network when the caller aborts, or when nothing has come for too long. */
class Watch {
  readonly #controller = new AbortController();
  readonly #url: URL;
  readonly #silenceMs: number;
  #outer: AbortSignal | undefined;
  readonly #onAbort = () => this.#controller.abort(this.#outer?.reason);

  constructor(url: URL, silenceMs: number, outer: AbortSignal | undefined) {
    this.#url = url;
    this.#silenceMs = silenceMs;
    this.follow(outer);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  follow(outer: AbortSignal | undefined): void {
    this.stop();
    this.#outer = outer;
    outer?.addEventListener("abort", this.#onAbort, { once: true });
    if (outer?.aborted) this.#onAbort();
  }

  stop(): void {
    this.#outer?.removeEventListener("abort", this.#onAbort);
  }

  /**
   * The signal's reason where that is why it failed, else a ConnectionError with the cause.
   * @param connecting nothing has come yet: the error says what may help
   */
  async over<T>(what: string, work: () => Promise<T>, connecting = false): Promise<T> {
    const silence = new Error(`nothing came for ${this.#silenceMs / 1000} s`);
    const timer = setTimeout(() => this.#controller.abort(silence), this.#silenceMs);
    try {
      return await work();
    } catch (cause) {
      this.#outer?.throwIfAborted();
      const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause;
      const reason = inner instanceof Error ? inner.message : String(inner);
      const help = connecting && cause !== silence ? `: ${inner === cause ? UNTOLD : TOLD}` : "";
      throw new ConnectionError(shown(this.#url), `${what} (${reason})${help}`, { cause });
    } finally {
      clearTimeout(timer);
    }
  }
}

/** What a server refused, with the status and what to do about it. */
export function refusal(url: URL, response: Response, advice?: string): SourceError {
  const { status, statusText } = response;
  const after = response.headers.get("retry-after");
  const said = [
    `the server answered ${status} ${statusText}`.trim(),
    after && isPassing(status) && `retry after ${after}`,
  ];
  return new SourceError(shown(url), [...said, advice].filter(Boolean).join(": "), { status });
}
