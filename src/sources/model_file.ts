/** Files that are named by themselves, and not with the folder they lie in. */

/** Whether a file of this name is a whole model: GGUF holds config and tokenizer too. */
export function isModelFile(name: string): boolean {
  return /\.gguf$/i.test(name);
}

/** An exit adapter that lies beside a model, and is loaded with it. */
export const EXIT_ADAPTER_FILE = "exit-adapter.safetensors";

/** Whether a folder of one file that was named by itself holds a file too: that, and the adapter beside a model. */
export function isOfFile(named: string, file: string): boolean {
  return file === named || (isModelFile(named) && file === EXIT_ADAPTER_FILE);
}

/** Whether a file of this name is asked for alone: a whole model, or what is put into one (an exit adapter). */
export function isWholeFile(name: string): boolean {
  return (
    isModelFile(name) || (/\.safetensors$/i.test(name) && !/(^|[/\\])model(-\d+-of-\d+)?\.safetensors$/i.test(name))
  );
}
