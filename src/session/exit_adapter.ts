/** Exit adapters of a loaded model: from where they are to behind their layer. */

import { sha256 } from "#platform";
import { GpuMemoryError, InputError, SourceError } from "../errors.ts";
import { adapterBytes, EXIT_ADAPTER, type ExitAdapter } from "../forward/exit_adapter.ts";
import type { Forward } from "../forward/forward.ts";
import type { RowTable } from "../forward/row_table.ts";
import type { Device } from "../gpu/device.ts";
import type { LayerTensors } from "../model/spec.ts";
import { blobSource } from "../sources/blob_source.ts";
import { EXIT_ADAPTER_FILE } from "../sources/model_file.ts";
import { openSource } from "../sources/open.ts";
import type { ExitAdapterOptions, ExitAdapterSource, ModelSource } from "../types.ts";
import type { Holding } from "../weights/dtype.ts";
import {
  type AdapterBase,
  type ExitAdapterFile,
  type ExitAdapterInfo,
  openExitAdapter,
} from "../weights/exit_adapter.ts";
import { planExitAdapter, uploadExitAdapter } from "../weights/exit_adapter_upload.ts";
import type { Folder, Source } from "../weights/source.ts";
import type { PricedAdapter } from "./controllers.ts";
import { requireKnown } from "./options.ts";
import { sourceOptions } from "./source_options.ts";

/** What an adapter is put into. @internal */
export interface AdapterTarget {
  device: Device;
  forward: Forward;
  table: RowTable;
  /** The tensors of the model's layers, by name. */
  layers: readonly LayerTensors[];
  /** What the model's matrices are held in. */
  holding: Holding;
}

const OPTIONS: readonly (keyof ExitAdapterOptions)[] = ["cache", "endpoint", "onDownload", "signal", "token"];

/** The one exit adapter that a model drafts with, if it has one. */
export class ExitAdapterSeat {
  readonly target: AdapterTarget;
  readonly #onChange: (adapter: PricedAdapter | undefined) => void;
  #info: ExitAdapterInfo | undefined;

  /** @param onChange told of another one, or none */
  constructor(target: AdapterTarget, onChange: (adapter: PricedAdapter | undefined) => void) {
    this.target = target;
    this.#onChange = onChange;
  }

  get info(): ExitAdapterInfo | undefined {
    return this.#info;
  }

  /** @throws the errors of `Model.loadExitAdapter` */
  async load(source: ExitAdapterSource, options: ExitAdapterOptions): Promise<ExitAdapterInfo> {
    try {
      const info = await loadExitAdapter(this.target, source, options);
      this.#is(info);
      return info;
    } catch (error) {
      if (this.#info && !this.target.forward.exitAdapter) this.#is(undefined);
      throw error;
    }
  }

  remove(): void {
    this.target.forward.removeExitAdapter();
    this.#is(undefined);
  }

  #is(info: ExitAdapterInfo | undefined): void {
    this.#info = info;
    this.#onChange(info && { ...info, layers: info.bytes / this.target.forward.layerBytes(0) });
  }
}

/** Adapters loaded so far: each has an owner in the books. */
let count = 0;

/**
 * Puts an adapter into the place of the one before, once all of it is there.
 * @throws the errors of `Model.loadExitAdapter`
 * @internal
 */
export async function loadExitAdapter(
  target: AdapterTarget,
  from: ExitAdapterSource,
  options: ExitAdapterOptions,
): Promise<ExitAdapterInfo> {
  const { forward } = target;
  const { signal } = options;
  requireKnown("loadExitAdapter", options, OPTIONS);
  const { source, folder } = await openAdapterSource(from, options);
  try {
    const file = await openExitAdapter(source, await adapterBase(target), signal);
    const make = () => preparedAdapter(target, file, `${EXIT_ADAPTER} ${++count}`, folder, signal);
    let adapter: ExitAdapter;
    try {
      adapter = await make();
    } catch (error) {
      if (!(error instanceof GpuMemoryError) || !forward.exitAdapter) throw error;
      forward.removeExitAdapter(); // there is no room for two
      adapter = await make();
    }
    forward.putExitAdapter(adapter);
    return { ...file.info, bytes: adapter.bytes };
  } finally {
    await source.close();
  }
}

/** An adapter that can be put behind its layer; where it cannot be made nothing of it is left. */
async function preparedAdapter(
  { device, forward, holding }: AdapterTarget,
  file: ExitAdapterFile,
  owner: string,
  folder: Folder | undefined,
  signal: AbortSignal | undefined,
): Promise<ExitAdapter> {
  try {
    const plan = planExitAdapter(file, holding, device.ledger.bindableBytes);
    const weights = await uploadExitAdapter(device, owner, file, plan, signal);
    await folder?.verified?.(signal);
    const { spec, kv } = forward;
    const bytes = adapterBytes(spec, kv, weights.block !== undefined);
    const make = () => forward.makeExitAdapter(weights, owner);
    const adapter = await device.allocating(`${file.name} (an exit adapter)`, bytes, make);
    await adapter.prepare([1]);
    return adapter;
  } catch (error) {
    device.ledger.releaseOwner(owner);
    throw error;
  }
}

/** The model as adapters know it. Two trainings of one architecture hardly have the same final norm. */
export async function adapterBase({ device, forward, layers }: AdapterTarget): Promise<AdapterBase> {
  const norm = new Uint8Array(await device.contents(forward.finalNorm));
  return { spec: forward.spec, layers, fingerprint: sha256().update(norm).hex() };
}

/** The file of an adapter in a folder: the one that is so called, or the only one of its kind. */
async function openIn(folder: Folder, signal: AbortSignal | undefined): Promise<Source> {
  const files = (await folder.list?.(signal)) ?? [EXIT_ADAPTER_FILE];
  const tensors = files.filter((file) => file.endsWith(".safetensors"));
  const path = files.includes(EXIT_ADAPTER_FILE) ? EXIT_ADAPTER_FILE : tensors.length === 1 ? tensors[0]! : undefined;
  const source = path === undefined ? undefined : await folder.open(path, signal);
  if (source) return source;
  const reason =
    path === undefined ? `has no ${EXIT_ADAPTER_FILE}: name the file of the adapter` : `there is no ${path}`;
  throw new SourceError(folder.name, reason);
}

async function openAdapterSource(
  from: ExitAdapterSource,
  options: ExitAdapterOptions,
): Promise<{ source: Source; folder?: Folder }> {
  if (from instanceof Uint8Array) {
    return { source: blobSource("exit adapter", new Blob([from as Uint8Array<ArrayBuffer>])) };
  }
  const only = isListOfOne(from) ? from[0] : from;
  if (only instanceof Blob) return { source: blobSource("name" in only ? String(only.name) : "exit adapter", only) };
  if (from === undefined || from === null) {
    const expected = "a name, a URL, a file, or the bytes of one";
    throw new InputError({ file: "loadExitAdapter", field: "source", found: String(from), expected });
  }
  const folder = await openSource(from as ModelSource, sourceOptions(options));
  return { source: await openIn(folder, options.signal), folder };
}

/** Files that were picked are a list, also where there is one. */
function isListOfOne(source: ExitAdapterSource): source is ArrayLike<Blob> {
  return typeof source === "object" && source !== null && "length" in source && source.length === 1;
}

/** The adapter that lies beside a model; undefined where there is none, or the place cannot tell. */
export async function adapterBeside(folder: Folder, signal: AbortSignal | undefined): Promise<Folder | undefined> {
  const files = (await folder.list?.(signal)) ?? [];
  return files.includes(EXIT_ADAPTER_FILE) ? folder : undefined;
}
