/** Philox 4x32-10 (Salmon et al. 2011, section 3.3) on the host, as shaders/sampling/noise.wgsl has it. */

const MULTIPLIERS = [0xd2511f53, 0xcd9e8d57] as const;
const WEYL = [0x9e3779b9, 0xbb67ae85] as const;

/** Both words of a product. */
function multiply(a: number, b: number): { high: number; low: number } {
  const product = BigInt(a) * BigInt(b);
  return { high: Number(product >> 32n), low: Number(product & 0xffffffffn) };
}

export function philox(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): readonly [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const first = multiply(MULTIPLIERS[0], c0);
    const second = multiply(MULTIPLIERS[1], c2);
    [c0, c1, c2, c3] = [(second.high ^ c1 ^ k0) >>> 0, second.low, (first.high ^ c3 ^ k1) >>> 0, first.low];
    k0 = (k0 + WEYL[0]) >>> 0;
    k1 = (k1 + WEYL[1]) >>> 0;
  }
  return [c0, c1, c2, c3];
}
