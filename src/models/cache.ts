import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, statfs, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { folderOf, formatModel, type Model, parseModel } from '../domain/model.js';
import { forEachOf } from '../registry/parallel.js';
import { download, isSealed, partialOf } from './download.js';
import type { Caller, Hub, ModelFile, Snapshot } from './hub.js';
import { type Part, writeSet } from './set.js';

/** The models of a release on this machine: a cache as `huggingface_hub` lays it out, with nothing else in it. */
export interface PreparedModels {
  readonly cacheDir: string;
  /** `models--acme--tiny`, one for each repository. */
  readonly folders: readonly string[];
  /** Fetched for it; 0 when all was here. */
  readonly bytes: number;
}

export interface FetchOptions {
  /** Opens private and gated ones; the server's own when absent. */
  readonly token: string | undefined;
  /** A line about how far it is, at most one in two seconds. */
  readonly onProgress: (text: string) => void;
  /** Gives up; when nobody else waits for the same models, what is under way ends and is gone on with the next time. */
  readonly signal: AbortSignal;
}

/** Models of a hub, each file kept once on this machine whatever names it. */
export interface ModelCache {
  /** The model with the commit that its revision names now; one that has a commit is as it is. Throws MODEL_UNKNOWN, DENIED, MODEL_UNAVAILABLE. */
  resolve(model: string, token: string | undefined): Promise<string>;
  /** Brings what is missing; those who ask at once wait for the same bytes. Models are resolved. Throws as `resolve` does. */
  fetch(models: readonly string[], options: FetchOptions): Promise<PreparedModels>;
  /** Removes what no release names any more and was not asked for within a day. */
  forget(except: readonly (readonly string[])[]): Promise<void>;
  close(): Promise<void>;
}

export interface ModelCacheOptions {
  /** Made when the first model is fetched. */
  readonly dir: string;
  readonly hub: Hub;
  /** Of this server, for releases without one. */
  readonly token: string | undefined;
  readonly retryDelayMs: number;
  readonly log: Log;
  /** Milliseconds. */
  readonly now: () => number;
  /** Aborts when the server stops. */
  readonly signal: AbortSignal;
}

/** What is being brought for all that wait for the same set. */
interface Fetch {
  readonly done: Promise<number>;
  readonly listeners: Set<(text: string) => void>;
  readonly ending: AbortController;
}

/** A file that is being fetched, for all that wait for it. */
interface Flight {
  readonly done: Promise<void>;
  bytes: number;
}

const AT_ONCE = 4;
const PROGRESS_MS = 2_000;
const KEEP_MS = 24 * 60 * 60 * 1000;

/**
 * `blobs/HASH` holds each file once. `sets/KEY` is the cache of all releases with the same models: links to blobs, made whole under its
 * name, so that one release sees neither the models nor the branches of another. `sets/KEY.json` lists what must be in it.
 */
export function openModelCache({ dir, hub, token: own, retryDelayMs, log, now, signal }: ModelCacheOptions): ModelCache {
  const [blobs, sets] = [join(dir, 'blobs'), join(dir, 'sets')];
  const flights = new Map<string, Flight>();
  const fetches = new Map<string, Fetch>();
  const blobOf = ({ hash }: Pick<ModelFile, 'hash'>) => join(blobs, hash);

  const fly = async (part: Omit<Part, 'files'>, file: ModelFile, { caller, onBytes }: Flying): Promise<void> => {
    const known = flights.get(file.hash);
    if (known) return known.done;
    const flight: Flight = {
      bytes: 0,
      done: download({
        ...{ hub, file, retryDelayMs, caller, model: part.model, commit: part.commit, target: blobOf(file) },
        onBytes: (bytes) => {
          flight.bytes = bytes;
          onBytes();
        },
      }).finally(() => flights.delete(file.hash)),
    };
    flights.set(file.hash, flight);
    return flight.done;
  };
  /** Gives how many bytes were missing. */
  const bring = async ({ model, commit, files }: Part, { onProgress, ...caller }: FetchOptions): Promise<number> => {
    const wanted = [...new Map(files.map((file) => [file.hash, file])).values()];
    const here = new Set<string>();
    for (const file of wanted) if (await isSealed(blobOf(file), file)) here.add(file.hash);
    const missing = wanted.filter(({ hash }) => !here.has(hash));
    if (missing.length === 0) return 0;
    const total = sumOf(missing);
    await checkRoom(blobs, { model, sizeBytes: total - (await sumPartial(missing.map(blobOf))) });
    const arrived = new Set<string>();
    let toldAt = 0;
    const tell = () => {
      if (now() - toldAt < PROGRESS_MS) return;
      toldAt = now();
      const bytes = missing.reduce(
        (sum, { hash, sizeBytes }) => sum + (arrived.has(hash) ? sizeBytes : (flights.get(hash)?.bytes ?? 0)),
        0,
      );
      onProgress(`fetching model ${formatModel({ ...model, commit: null })}: ${formatBytes(bytes)} of ${formatBytes(total)}`);
    };
    tell();
    const ticking = setInterval(tell, PROGRESS_MS).unref();
    try {
      await forEachOf(missing, AT_ONCE, async (file) => {
        await fly({ model, commit }, file, { caller, onBytes: tell });
        arrived.add(file.hash);
      });
    } finally {
      clearInterval(ticking);
    }
    return total;
  };
  const fetchAll = async (models: readonly Model[], key: string, options: FetchOptions): Promise<number> => {
    await mkdir(blobs, { recursive: true });
    const startedAt = now();
    const parts: Part[] = [];
    let bytes = 0;
    for (const model of models) {
      const part: Part = { model, ...(await hub.describe(model, options)) };
      bytes += await bring(part, options);
      parts.push(part);
    }
    await writeSet({ sets, key, parts, blobOf });
    if (bytes > 0) options.onProgress(`fetched models: ${formatBytes(bytes)} in ${((now() - startedAt) / 1000).toFixed(1)} s`);
    return bytes;
  };

  const begin = (models: readonly Model[], key: string, token: string | undefined): Fetch => {
    const listeners = new Set<(text: string) => void>();
    const ending = new AbortController();
    const onProgress = (text: string) => {
      for (const listener of listeners) listener(text);
    };
    const done = fetchAll(models, key, { token, onProgress, signal: AbortSignal.any([signal, ending.signal]) })
      .catch(wrapDisk)
      .finally(() => fetches.delete(key));
    const fetch = { done, listeners, ending };
    fetches.set(key, fetch);
    return fetch;
  };

  return {
    async resolve(text, token) {
      const model = parseModel(text);
      if (model.commit !== null) return formatModel(model);
      const { commit } = await hub.describe(model, { token: token ?? own, signal });
      return formatModel({ ...model, commit });
    },
    async fetch(texts, { token = own, onProgress, signal: leaving }) {
      const models = texts.map(parseModel);
      const key = keyOf(texts);
      const prepared = { cacheDir: join(sets, key), folders: [...new Set(models.map(folderOf))] };
      if (await isWhole(sets, key, blobOf)) return { ...prepared, bytes: 0 };
      leaving.throwIfAborted();
      const shared = fetches.get(key) ?? begin(models, key, token);
      shared.listeners.add(onProgress);
      const leave = () => {
        shared.listeners.delete(onProgress);
        if (shared.listeners.size === 0) shared.ending.abort();
      };
      leaving.addEventListener('abort', leave, { once: true });
      try {
        return { ...prepared, bytes: await shared.done };
      } finally {
        leaving.removeEventListener('abort', leave);
      }
    },
    async forget(except) {
      // A set that is being made has links to nothing yet.
      if (fetches.size > 0) return;
      const kept = new Set(except.map(keyOf));
      for (const name of await listFolder(sets)) {
        if (kept.has(name.replace(/\.json$/, '')) || !(await isOld(join(sets, name.replace(/(\.json)?$/, '.json')), now()))) continue;
        log.debug({ name }, 'models that no release names are removed');
        await rm(join(sets, name), { recursive: true, force: true });
      }
      for (const name of await listFolder(blobs)) {
        const found = await stat(join(blobs, name)).catch(() => undefined);
        const isNeedless = found?.nlink === 1 && now() - found.ctimeMs > KEEP_MS;
        if (isNeedless && fetches.size === 0) await rm(join(blobs, name), { force: true });
      }
    },
    close: () => hub.close(),
  };
}

interface Flying {
  readonly caller: Caller;
  readonly onBytes: () => void;
}

function keyOf(models: readonly string[]): string {
  return createHash('sha256').update(models.join('\n')).digest('hex').slice(0, 32);
}

/** The set is there and every file in it is as it came; it is in use from now on. */
async function isWhole(sets: string, key: string, blobOf: (file: ModelFile) => string): Promise<boolean> {
  const list = join(sets, `${key}.json`);
  const text = await readFile(list, 'utf8').catch(() => undefined);
  if (text === undefined) return false;
  const snapshots = JSON.parse(text) as readonly Snapshot[];
  for (const file of snapshots.flatMap(({ files }) => files)) if (!(await isSealed(blobOf(file), file))) return false;
  if (!(await stat(join(sets, key)).catch(() => undefined))) return false;
  await utimes(list, new Date(), new Date());
  return true;
}

/** Without its list a set is what a crash left. */
async function isOld(list: string, now: number): Promise<boolean> {
  const found = await stat(list).catch(() => undefined);
  return found === undefined || now - found.mtimeMs > KEEP_MS;
}

function listFolder(dir: string): Promise<string[]> {
  return readdir(dir).catch(() => []);
}

function sumOf(files: readonly ModelFile[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

async function sumPartial(targets: readonly string[]): Promise<number> {
  const sizes = await Promise.all(
    targets.map((target) =>
      stat(partialOf(target)).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function checkRoom(dir: string, { model, sizeBytes }: { readonly model: Model; readonly sizeBytes: number }): Promise<void> {
  const { bavail, bsize } = await statfs(dir);
  if (sizeBytes <= bavail * bsize) return;
  throw new WherryError(
    'MODEL_UNAVAILABLE',
    `model '${formatModel(model)}' has no room: ${formatBytes(sizeBytes)} are missing, ${formatBytes(bavail * bsize)} of disk are free`,
    { hint: 'free disk space, or put the data directory on a larger disk' },
  );
}

/** What the disk throws, as a failure of the models. */
function wrapDisk(thrown: unknown): never {
  if (thrown instanceof WherryError && thrown.code !== 'SIZE_INVALID') throw thrown;
  throw new WherryError('MODEL_UNAVAILABLE', `models could not be kept: ${thrown instanceof Error ? thrown.message : String(thrown)}`, {
    hint: 'look at the disk of the data directory',
    cause: thrown,
  });
}

function formatBytes(bytes: number): string {
  return bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
