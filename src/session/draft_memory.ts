/**
 * What drafting has learned, as bytes to keep: Token Recycling's matrix.
 *
 * Little-endian words: "LLDM", the version, ids of the vocabulary, followers of each; then the matrix, 32 bytes an id.
 */

import { FileFormatError, InputError } from "../errors.ts";
import { FOLLOWERS } from "../kernels/constants.ts";

const MAGIC = 0x4d444c4c; // "LLDM"
const VERSION = 1;
const HEAD_WORDS = 4;
const FILE = "draft memory";

export function encodeDraftMemory(followers: Uint32Array): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(HEAD_WORDS + followers.length);
  words.set([MAGIC, VERSION, followers.length / FOLLOWERS, FOLLOWERS]);
  words.set(followers, HEAD_WORDS);
  return new Uint8Array(words.buffer);
}

/**
 * @returns `[vocabSize][FOLLOWERS]` ids
 * @throws FileFormatError when the bytes are not what `encodeDraftMemory` gave; InputError when they are another vocabulary's
 */
export function decodeDraftMemory(bytes: Uint8Array, vocabSize: number): Uint32Array<ArrayBuffer> {
  const whole = bytes.byteLength - (bytes.byteLength % 4);
  const words = new Uint32Array(new Uint8Array(bytes).buffer, 0, whole / 4); // a copy: Node's buffers share their memory
  const [magic, version, ids = 0, followers] = words;
  const fail = (field: string, found: string, expected: string): never => {
    throw new FileFormatError({ file: FILE, field, found, expected });
  };
  if (magic !== MAGIC) fail("first 4 bytes", hex(magic), hex(MAGIC));
  if (version !== VERSION) fail("version", String(version), String(VERSION));
  if (followers !== FOLLOWERS) fail("followers of an id", String(followers), String(FOLLOWERS));
  if (ids !== vocabSize) {
    const expected = `the ${vocabSize} of this model's`;
    throw new InputError({ file: FILE, field: "vocabulary", found: `${ids} ids`, expected });
  }
  const size = (HEAD_WORDS + ids * FOLLOWERS) * 4;
  if (bytes.byteLength !== size) fail("size", `${bytes.byteLength} bytes`, `${size} bytes`);
  return words.subarray(HEAD_WORDS);
}

function hex(word: number | undefined): string {
  return word === undefined ? "nothing" : `0x${word.toString(16).padStart(8, "0")}`;
}
