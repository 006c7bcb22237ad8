/** Files that are a whole model by themselves. */

/** Whether a file of this name is a whole model: GGUF holds config and tokenizer too. */
export function isModelFile(name: string): boolean {
  return /\.gguf$/i.test(name);
}
