/** One thing at a time, which can be stopped. */

interface Running {
  stopper: AbortController;
  ended: Promise<void>;
}

export class Activity {
  readonly #onChange: () => void;
  #running: Running | undefined;

  /** @param onChange called when something begins and when it has ended */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  get busy(): boolean {
    return this.#running !== undefined;
  }

  stop(): void {
    this.#running?.stopper.abort();
  }

  /** Does it, unless something else is going on: then it is ignored. */
  async ifIdle(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
    if (!this.#running) await this.#run(task);
  }

  /** Does it once what goes on has been stopped. */
  async instead(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
    while (this.#running) {
      this.stop();
      await this.#running.ended;
    }
    await this.#run(task);
  }

  async #run(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
    let end = () => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    const stopper = new AbortController();
    this.#running = { stopper, ended };
    this.#onChange();
    try {
      await task(stopper.signal);
    } finally {
      this.#running = undefined;
      end();
      this.#onChange();
    }
  }
}
