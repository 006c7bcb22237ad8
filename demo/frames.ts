/** Work that may be asked for many times a frame and is done at most once. */

export interface PerFrame {
  /** Does it with the next frame. */
  request(): void;
  /** Does it now; a request that waits is dropped. */
  flush(): void;
}

export function perFrame(work: () => void): PerFrame {
  let waiting = 0;
  return {
    request() {
      waiting ||= requestAnimationFrame(() => {
        waiting = 0;
        work();
      });
    },
    flush() {
      cancelAnimationFrame(waiting);
      waiting = 0;
      work();
    },
  };
}
