/** When a request is tried again, and how long to wait before that. */

/** How patient requests are. */
export interface RetryPolicy {
  /** Tries in a row without a byte gained before the error is reported; 1 never tries again. */
  attempts: number;
  /** Wait after the first failure; it doubles with each further one. */
  firstWaitMs: number;
  /** No wait is longer. A server that asks for a longer one (Retry-After) is reported instead. */
  longestWaitMs: number;
  /** A connection that brings nothing for so long counts as broken. */
  silenceMs: number;
}

export const PATIENT: RetryPolicy = { attempts: 5, firstWaitMs: 500, longestWaitMs: 60_000, silenceMs: 60_000 };

/** For a question whose answer can be done without. */
export const ONCE: RetryPolicy = { ...PATIENT, attempts: 1, silenceMs: 10_000 };

/** Statuses that say "not now" rather than "no": 408, 425, 429 and the server's own failures. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);

export function isPassing(status: number): boolean {
  return PASSING.has(status);
}

/**
 * Milliseconds to wait after `failures` of them in a row; undefined when it is enough.
 * @param retryAfter the header of the refusal: seconds, or a date (RFC 9110, section 10.2.3)
 */
export function waitBeforeRetry(policy: RetryPolicy, failures: number, retryAfter?: string | null): number | undefined {
  if (failures >= policy.attempts) return undefined;
  const asked = retryAfter ? retryAfterMs(retryAfter) : undefined;
  if (asked !== undefined) return asked <= policy.longestWaitMs ? asked : undefined;
  // Spread out, so that a server that comes back is not met by everybody at once.
  const wait = policy.firstWaitMs * 2 ** (failures - 1) * (1 + Math.random() / 4);
  return Math.min(wait, policy.longestWaitMs);
}

function retryAfterMs(header: string): number | undefined {
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/**
 * Waits.
 * @throws the signal's reason as soon as it aborts
 */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
