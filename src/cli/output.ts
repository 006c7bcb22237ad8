/** Writing to the terminal or a pipe: waits until text is out, notices a reader that left, ends the process whole. */

/** Exit codes of the command line. */
export const EXIT = { success: 0, failure: 1, usage: 2 } as const;

/** The reader of stdout has left (`layerleap ... | head -1`): nobody wants the rest, and nothing is wrong. */
export class OutputClosedError extends Error {}

/** Keeps a broken pipe from ending the process with a stack trace: `write` reports it instead. */
export function guardOutput(): void {
  process.stdout.on("error", () => {});
  process.stderr.on("error", () => {});
}

/**
 * Writes to stdout and waits until it is out.
 * @throws OutputClosedError when the reader has left, Error when the text cannot be written (a full disk)
 */
export function write(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (!error) resolve();
      else reject(isClosedPipe(error) ? new OutputClosedError() : new Error(`stdout: ${error.message}`));
    });
  });
}

/** Writes a line to stderr. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** `text` in a faint colour where stderr is a terminal that wants colours. */
export function faint(text: string): string {
  return process.stderr.isTTY && !process.env.NO_COLOR ? `\x1b[2m${text}\x1b[0m` : text;
}

/** Ends the process when all is written. Dawn keeps threads, so the process would not end by itself. */
export async function finish(exitCode: number): Promise<never> {
  const flushed = (stream: NodeJS.WriteStream) => new Promise<void>((resolve) => stream.write("", () => resolve()));
  await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
  process.exit(exitCode);
}

function isClosedPipe(error: Error): boolean {
  const code = "code" in error ? error.code : undefined;
  return code === "EPIPE" || code === "ERR_STREAM_DESTROYED";
}
