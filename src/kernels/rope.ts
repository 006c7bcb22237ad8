/** The rotations of RoPE, which the `qkv` matmul reads (shaders/matmul/qkv.wgsl). */

/**
 * `[position][headDim / 2]` of (cos, sin).
 *
 * Inverse frequencies and angles are rounded to f32 as the Python implementations do, so that long contexts agree.
 * Source: RoFormer (Su et al. 2021), section 3.2.2.
 */
export function ropeRotations(contextLength: number, headDim: number, ropeTheta: number): Float32Array<ArrayBuffer> {
  const half = headDim / 2;
  const inverseFrequencies = Float32Array.from({ length: half }, (_, i) => 1 / ropeTheta ** ((2 * i) / headDim));
  const rotations = new Float32Array(contextLength * half * 2);
  for (let position = 0; position < contextLength; position++) {
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * inverseFrequencies[i]!);
      rotations[(position * half + i) * 2] = Math.cos(angle);
      rotations[(position * half + i) * 2 + 1] = Math.sin(angle);
    }
  }
  return rotations;
}
