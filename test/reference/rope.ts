/**
 * RoPE and its scalings, in float64 from the formulas of their papers, where transformers' `modeling_rope_utils.py` has
 * chosen one of several readings as it does. Settings have the names of `config.json`.
 */

export interface RopeSettings {
  rope_type: "default" | "linear" | "dynamic" | "yarn" | "llama3" | "longrope";
  rope_theta: number;
  partial_rotary_factor?: number;
  factor?: number;
  original_max_position_embeddings?: number;
  beta_fast?: number;
  beta_slow?: number;
  attention_factor?: number;
  truncate?: boolean;
  low_freq_factor?: number;
  high_freq_factor?: number;
  short_factor?: readonly number[];
  long_factor?: readonly number[];
}

export interface RopeSizes {
  headDim: number;
  maxPositionEmbeddings: number;
  /** Tokens of the text. */
  length: number;
}

/** The angle from one position to the next of every rotated pair, and the factor of its cosine and sine. */
export function ropeAngles(settings: RopeSettings, sizes: RopeSizes): { angles: number[]; factor: number } {
  const { headDim, maxPositionEmbeddings, length } = sizes;
  const { rope_theta: base, factor = 1, partial_rotary_factor = 1 } = settings;
  const original = settings.original_max_position_embeddings ?? maxPositionEmbeddings;
  const dim = headDim * partial_rotary_factor;
  const pairs = Array.from({ length: dim / 2 }, (_, i) => i);
  /** RoFormer (Su et al. 2021), section 3.2.2. */
  const plain = (theta: number) => pairs.map((i) => Math.exp((-2 * i * Math.log(theta)) / dim));
  /** Turns that a pair makes over the original context. */
  const turns = (angle: number) => (angle * original) / (2 * Math.PI);
  const between = (low: number, x: number, high: number) => Math.max(low, Math.min(x, high));

  switch (settings.rope_type) {
    case "default":
      return { angles: plain(base), factor: 1 };
    case "linear": // Position Interpolation (Chen et al. 2023), equation 3
      return { angles: plain(base).map((angle) => angle / factor), factor: 1 };
    case "dynamic": {
      // "Dynamic NTK" (YaRN's appendix B.1): theta grows so that the slowest pair turns as far as it was trained to turn.
      if (length <= maxPositionEmbeddings) return { angles: plain(base), factor: 1 };
      const stretch = 1 + factor * (length / maxPositionEmbeddings - 1);
      return { angles: plain(base * stretch ** (dim / (dim - 2))), factor: 1 };
    }
    case "llama3":
      return {
        angles: plain(base).map((angle) => {
          const [low, high] = [settings.low_freq_factor!, settings.high_freq_factor!];
          const kept = between(0, (turns(angle) - low) / (high - low), 1);
          return angle * (kept + (1 - kept) / factor);
        }),
        factor: 1,
      };
    case "yarn": {
      // Peng et al. 2023, section 3.2; its ramp is over the pairs' numbers, as in the authors' code.
      const { beta_fast = 32, beta_slow = 1, truncate = true } = settings;
      const pairThatTurns = (times: number) => ((dim / 2) * Math.log(turns(1) / times)) / Math.log(base);
      let [first, last] = [pairThatTurns(beta_fast), pairThatTurns(beta_slow)];
      if (truncate) [first, last] = [Math.floor(first), Math.ceil(last)];
      first = Math.max(first, 0);
      last = Math.min(last, dim - 1);
      if (last === first) last += 1e-3;
      return {
        angles: plain(base).map((angle, i) => {
          const interpolated = between(0, (i - first) / (last - first), 1);
          return angle * (1 - interpolated + interpolated / factor);
        }),
        factor: settings.attention_factor ?? (factor > 1 ? 1 + Math.log(factor) / 10 : 1),
      };
    }
    case "longrope": {
      // Ding et al. 2024, section 3.2; the attention's factor is that of Phi-3's `modeling_phi3.py`.
      const divisors = length > original ? settings.long_factor! : settings.short_factor!;
      const growth = settings.factor ?? maxPositionEmbeddings / original;
      const scale = growth <= 1 ? 1 : Math.sqrt(1 + Math.log(growth) / Math.log(original));
      return {
        angles: plain(base).map((angle, i) => angle / divisors[i]!),
        factor: settings.attention_factor ?? scale,
      };
    }
  }
}

/**
 * A head of queries or keys at `position`, in Hugging Face's order: the first `2 * angles.length` elements are two halves
 * that turn together, those past them pass.
 */
export function rotateHead(
  head: readonly number[],
  position: number,
  { angles, factor }: { angles: readonly number[]; factor: number },
): number[] {
  const half = angles.length;
  const rotated = [...head];
  for (const [i, angle] of angles.entries()) {
    const [cos, sin] = [factor * Math.cos(position * angle), factor * Math.sin(position * angle)];
    rotated[i] = head[i]! * cos - head[i + half]! * sin;
    rotated[i + half] = head[i + half]! * cos + head[i]! * sin;
  }
  return rotated;
}
