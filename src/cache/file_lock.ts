/**
 * A lock between processes: a file that only one can create (Node only).
 *
 * The holder touches it every so often. One that has not been touched for long, or whose process is gone, is stale: its
 * holder was killed.
 */

import { randomUUID } from "node:crypto";
import { open, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { SourceError } from "../errors.ts";
import { pause } from "../sources/retry.ts";

const TOUCH_MS = 2000;
const STALE_MS = 10_000;
const POLL_MS = 50;

export class FileLock {
  readonly #path: string;
  readonly #text: string;
  readonly #timer: NodeJS.Timeout;

  private constructor(path: string, text: string) {
    this.#path = path;
    this.#text = text;
    this.#timer = setInterval(() => {
      const now = new Date();
      // Taken away as stale, as after the machine slept: what it guards is written whole in any case.
      utimes(path, now, now).catch(() => {});
    }, TOUCH_MS);
    this.#timer.unref();
  }

  /**
   * Waits until the lock is free and takes it.
   * @throws SourceError when it cannot be created; the signal's reason
   */
  static async take(path: string, signal?: AbortSignal): Promise<FileLock> {
    const text = JSON.stringify({ pid: process.pid, host: hostname(), id: randomUUID() });
    for (;;) {
      signal?.throwIfAborted();
      if (await create(path, text)) return new FileLock(path, text);
      await removeStale(path);
      await pause(POLL_MS * (0.5 + Math.random()), signal);
    }
  }

  async release(): Promise<void> {
    clearInterval(this.#timer);
    // Only one's own: it may have been taken away as stale, and another have it now.
    if ((await readFile(this.#path, "utf8").catch(() => "")) === this.#text) await rm(this.#path, { force: true });
  }
}

/** @returns false where there is a lock already */
async function create(path: string, text: string): Promise<boolean> {
  try {
    const file = await open(path, "wx");
    try {
      await file.writeFile(text);
    } finally {
      await file.close();
    }
    return true;
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    // Windows says EPERM of a file that is being removed.
    if (code === "EEXIST" || code === "EPERM") return false;
    throw new SourceError(path, `the cache cannot be locked (${cause instanceof Error ? cause.message : cause})`, {
      cause,
    });
  }
}

async function removeStale(path: string): Promise<void> {
  const status = await stat(path).catch(() => undefined);
  if (!status) return;
  const silent = Date.now() - status.mtimeMs > STALE_MS;
  const text = await readFile(path, "utf8").catch(() => "");
  if (!silent && !isOfDeadProcess(text)) return;
  // Only one of several who find it stale can move it away. Should a new lock stand there by now, its holder and the next
  // one fetch the same chunk: twice the work, and no harm.
  const away = `${path}.${randomUUID()}`;
  await rename(path, away).then(
    () => rm(away, { force: true }),
    () => {},
  );
}

/** Known only of processes of this machine. A lock that is just being written has no text yet. */
function isOfDeadProcess(text: string): boolean {
  try {
    const holder: unknown = JSON.parse(text);
    if (typeof holder !== "object" || !holder || !("pid" in holder) || !("host" in holder)) return false;
    if (holder.host !== hostname() || typeof holder.pid !== "number") return false;
    process.kill(holder.pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "ESRCH";
  }
}
