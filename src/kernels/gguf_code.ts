/** The pieces of WGSL that read the blocks of GGUF, and their constants (shaders/weights/gguf/README.md). */

import bytes from "../../shaders/weights/gguf/bytes.wgsl?raw";
import iq4Nl from "../../shaders/weights/gguf/iq4_nl.wgsl?raw";
import iq4Xs from "../../shaders/weights/gguf/iq4_xs.wgsl?raw";
import levelsCodebook from "../../shaders/weights/gguf/levels_codebook.wgsl?raw";
import levelsLinear from "../../shaders/weights/gguf/levels_linear.wgsl?raw";
import q2K from "../../shaders/weights/gguf/q2_k.wgsl?raw";
import q3K from "../../shaders/weights/gguf/q3_k.wgsl?raw";
import q4Zero from "../../shaders/weights/gguf/q4_0.wgsl?raw";
import q4One from "../../shaders/weights/gguf/q4_1.wgsl?raw";
import q4K from "../../shaders/weights/gguf/q4_k.wgsl?raw";
import q5Zero from "../../shaders/weights/gguf/q5_0.wgsl?raw";
import q5One from "../../shaders/weights/gguf/q5_1.wgsl?raw";
import q5K from "../../shaders/weights/gguf/q5_k.wgsl?raw";
import q6K from "../../shaders/weights/gguf/q6_k.wgsl?raw";
import q8Zero from "../../shaders/weights/gguf/q8_0.wgsl?raw";
import scales6Bits from "../../shaders/weights/gguf/scales_6_bits.wgsl?raw";
import type { Constants } from "../gpu/pipelines.ts";
import { type GgufBlockType, SOURCE_LAYOUTS } from "./source_type.ts";
import { formatCode, isBlockFormat } from "./weight_format.ts";

const PIECES: Record<GgufBlockType, readonly string[]> = {
  Q4_0: [q4Zero],
  Q4_1: [q4One],
  Q5_0: [q5Zero],
  Q5_1: [q5One],
  Q8_0: [q8Zero],
  Q2_K: [q2K],
  Q3_K: [q3K],
  Q4_K: [q4K, scales6Bits],
  Q5_K: [q5K, scales6Bits],
  Q6_K: [q6K],
  IQ4_NL: [iq4Nl],
  IQ4_XS: [iq4Xs],
};

/** What declares codes, their levels and scales of a type. */
export function ggufCode(type: GgufBlockType): { code: readonly string[]; constants: Constants } {
  const { elements, bytes: blockBytes, exact } = SOURCE_LAYOUTS[type];
  if (!isBlockFormat(exact)) throw new RangeError(`${type} is no type of blocks`);
  const { CODE_SIGNED = 0, CODE_OFFSET = 0, CODEBOOK } = formatCode(exact).constants;
  return {
    code: [bytes, CODEBOOK === undefined ? levelsLinear : levelsCodebook, ...PIECES[type]],
    constants: {
      SOURCE_VECTORS: elements / 4,
      SOURCE_BYTES: blockBytes,
      SOURCE_GROUP_VECTORS: exact.block / 4,
      ...(CODEBOOK === undefined
        ? { SOURCE_SIGNED: CODE_SIGNED, SOURCE_OFFSET: CODE_OFFSET }
        : { SOURCE_CODEBOOK: CODEBOOK }),
    },
  };
}
