/**
 * Every failure LayerLeap reports on purpose is a `LayerLeapError` with a stable `code`.
 *
 * Errors about a file or an option carry what a person needs to mend it: which file, which field, what was found there
 * and what was expected.
 */

/** Base of all errors of this library. Switch on `code`; the message is for people. */
export class LayerLeapError extends Error {
  /** The class's name, also where a minifier has renamed the class. */
  override readonly name: string = "LayerLeapError";
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Where something was wrong: which file and field, what stood there, what should have. */
export interface Finding {
  /** File name or URL, or the name of the function whose argument it was. */
  file: string;
  /** The field, tensor, option or byte range inside it. */
  field: string;
  /** What was found. */
  found: string;
  /** What was expected. */
  expected: string;
}

function sentence({ file, field, found, expected }: Finding): string {
  return `${file}: ${field}: found ${found}, expected ${expected}`;
}

class FindingError extends LayerLeapError implements Finding {
  readonly file: string;
  readonly field: string;
  readonly found: string;
  readonly expected: string;

  constructor(code: string, finding: Finding, options?: ErrorOptions) {
    super(code, sentence(finding), options);
    this.file = finding.file;
    this.field = finding.field;
    this.found = finding.found;
    this.expected = finding.expected;
  }
}

/** A file is damaged or contradicts itself (`file-format`). */
export class FileFormatError extends FindingError {
  override readonly name = "FileFormatError";
  constructor(finding: Finding, options?: ErrorOptions) {
    super("file-format", finding, options);
  }
}

/** A well-formed model that this version cannot run (`unsupported-model`). */
export class UnsupportedModelError extends FindingError {
  override readonly name = "UnsupportedModelError";
  constructor(finding: Finding, options?: ErrorOptions) {
    super("unsupported-model", finding, options);
  }
}

/** An argument or option is out of range or of the wrong kind (`invalid-input`). */
export class InputError extends FindingError {
  override readonly name = "InputError";
  constructor(finding: Finding, options?: ErrorOptions) {
    super("invalid-input", finding, options);
  }
}

/** A file or URL could not be opened or read (`source`). */
export class SourceError extends LayerLeapError {
  override readonly name = "SourceError";
  readonly file: string;
  /** The HTTP status, where a server refused. */
  readonly status: number | undefined;

  constructor(file: string, reason: string, options: ErrorOptions & { status?: number } = {}) {
    super("source", `${file}: ${reason}`, options);
    this.file = file;
    this.status = options.status;
  }
}

/** A downloaded file is not the one that was published (`integrity`). What was stored of it is removed. */
export class IntegrityError extends LayerLeapError {
  override readonly name = "IntegrityError";
  readonly file: string;
  /** SHA-256 in hexadecimal digits. */
  readonly found: string;
  readonly expected: string;

  constructor(file: string, found: string, expected: string) {
    super(
      "integrity",
      `${file}: found SHA-256 ${found}, expected ${expected}: what was stored of it is removed, load it again`,
    );
    this.file = file;
    this.found = found;
    this.expected = expected;
  }
}

/** The cache of downloads has no room for a file: disk full, or the browser's quota (`cache-full`). */
export class CacheFullError extends LayerLeapError {
  override readonly name = "CacheFullError";
  readonly file: string;
  /** Bytes still to be stored of it. */
  readonly neededBytes: number;
  /** Bytes there were room for; undefined where that is not known. */
  readonly availableBytes: number | undefined;

  constructor(file: string, neededBytes: number, availableBytes?: number, options?: ErrorOptions) {
    const room = availableBytes === undefined ? "there is no more room" : `there is room for ${availableBytes}`;
    super(
      "cache-full",
      `${file}: ${neededBytes} bytes are still to be stored, ${room}: free some space, remove cached models, or load without the cache`,
      options,
    );
    this.file = file;
    this.neededBytes = neededBytes;
    this.availableBytes = availableBytes;
  }
}

/** The prompt leaves no room for a token in the context (`context-length`). */
export class ContextLengthError extends LayerLeapError {
  override readonly name = "ContextLengthError";
  readonly promptLength: number;
  readonly contextLength: number;

  constructor(promptLength: number, contextLength: number) {
    super(
      "context-length",
      `the prompt has ${promptLength} tokens and the context holds ${contextLength}: shorten the prompt to at most ${contextLength - 1} tokens`,
    );
    this.promptLength = promptLength;
    this.contextLength = contextLength;
  }
}

/** There is no WebGPU, or no adapter behind it (`gpu-unavailable`). */
export class GpuUnavailableError extends LayerLeapError {
  override readonly name = "GpuUnavailableError";
  constructor(message: string, options?: ErrorOptions) {
    super("gpu-unavailable", message, options);
  }
}

/** The GPU refused a command, a shader or an allocation; `kernel` names which (`gpu`). */
export class GpuError extends LayerLeapError {
  override readonly name = "GpuError";
  readonly kernel: string;

  constructor(kernel: string, message: string, options?: ErrorOptions) {
    super("gpu", `${kernel}: ${message}`, options);
    this.kernel = kernel;
  }
}

/** The model needs more GPU memory than there is (`gpu-memory`). */
export class GpuMemoryError extends LayerLeapError {
  override readonly name = "GpuMemoryError";
  readonly neededBytes: number;

  constructor(what: string, neededBytes: number, available: string, options?: ErrorOptions) {
    super("gpu-memory", `${what} needs ${neededBytes} bytes of GPU memory: ${available}`, options);
    this.neededBytes = neededBytes;
  }
}

/** The device was lost: the driver was reset, the GPU process died, or the device was destroyed (`device-lost`). */
export class DeviceLostError extends LayerLeapError {
  override readonly name = "DeviceLostError";
  constructor(reason: string) {
    super("device-lost", `the GPU device was lost (${reason}): load the model again`);
  }
}

/** The model produced logits that are not numbers, so no token could be chosen (`non-finite-logits`). */
export class NonFiniteLogitsError extends LayerLeapError {
  override readonly name = "NonFiniteLogitsError";
  constructor() {
    super(
      "non-finite-logits",
      "the model's logits are not finite numbers: the weights are damaged or the device computes wrong results",
    );
  }
}

/** What was asked for cannot be done while something else runs on this model (`busy`). */
export class BusyError extends LayerLeapError {
  override readonly name = "BusyError";
  constructor(why = "this model is already at work") {
    super("busy", `${why}: finish or abort the running generation first`);
  }
}

/** The model was disposed (`disposed`). */
export class DisposedError extends LayerLeapError {
  override readonly name = "DisposedError";
  constructor() {
    super("disposed", "this model was disposed: load it again");
  }
}

/** The worker that holds the model has ended, or its script could not be run (`worker-lost`). */
export class WorkerLostError extends LayerLeapError {
  override readonly name = "WorkerLostError";
  constructor(reason = "it ended", options?: ErrorOptions) {
    super("worker-lost", `the worker that holds the model is gone (${reason}): load the model again`, options);
  }
}
