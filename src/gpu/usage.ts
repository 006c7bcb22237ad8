/**
 * WebGPU's flags (W3C WebGPU, sections 5.1.2, 5.1.3 and 8.1). The specification fixes the values; the globals that name
 * them are there in browsers only, and Dawn in Node brings its own.
 */

export const BufferUsage = {
  MAP_READ: 0x0001,
  COPY_SRC: 0x0004,
  COPY_DST: 0x0008,
  UNIFORM: 0x0040,
  STORAGE: 0x0080,
} as const;

export const MAP_MODE_READ = 0x0001;

export const SHADER_STAGE_COMPUTE = 0x4;
