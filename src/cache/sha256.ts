/** SHA-256 of bytes that come one after the other. WebCrypto computes it only of all at once. */

export interface Sha256 {
  update(bytes: Uint8Array): Sha256;
  /** The sum in hexadecimal digits. Nothing can be added after that. */
  hex(): string;
}
