/** Turns at something that one may use at a time, in the order in which they were asked for. */

export class Turns {
  #last: Promise<void> = Promise.resolve();

  /** @returns when it is one's turn, how to end it */
  async take(): Promise<() => void> {
    let end = () => {};
    const before = this.#last;
    this.#last = new Promise((resolve) => {
      end = resolve;
    });
    await before;
    return end;
  }
}
