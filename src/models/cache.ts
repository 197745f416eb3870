import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, statfs, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { WherryError } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { formatBytes } from '../base/size.js';
import { folderOf, formatModel, type Model, parseModel } from '../domain/model.js';
import { forEachOf } from '../registry/parallel.js';
import { download, isSealed, partialOf } from './download.js';
import type { Caller, Hub, ModelFile, Snapshot } from './hub.js';
import { type Part, type SetPlan, writeSet } from './set.js';
import { createSharedWork } from './shared-work.js';

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

const AT_ONCE = 4;
const PROGRESS_MS = 2_000;
const KEEP_MS = 24 * 60 * 60 * 1000;

/**
 * `blobs/HASH` holds each file once. `sets/KEY` is the cache of all releases with the same models: links to blobs, made whole under its
 * name, so that one release sees neither the models nor the branches of another. `sets/KEY.json` lists what must be in it.
 */
export function openModelCache({ dir, hub, token: own, retryDelayMs, log, now, signal }: ModelCacheOptions): ModelCache {
  const [blobs, sets] = [join(dir, 'blobs'), join(dir, 'sets')];
  const flights = createSharedWork<void, number>();
  const fetches = createSharedWork<number, string>();
  const isIdle = () => fetches.isIdle() && flights.isIdle();
  const blobOf = ({ hash }: Pick<ModelFile, 'hash'>) => join(blobs, hash);

  /** Each token on its own: the refusal of one says nothing about another. */
  const nameOf = (place: string, token: string | undefined) => ({ key: `${place} ${token ?? ''}`, place });
  const fly = ({ model, commit }: Omit<Part, 'files'>, file: ModelFile, { token, signal, onBytes }: Flying): Promise<void> =>
    flights.join(nameOf(file.hash, token), { signal, onNews: onBytes }, async (flight) => {
      const target = blobOf(file);
      // It may have come while this one waited for its turn.
      if (await isSealed(target, file)) return;
      const caller = { token, signal: flight.signal };
      await download({ hub, model, commit, file, target, caller, retryDelayMs, onBytes: flight.tell });
    });
  /** Gives how many bytes were missing. */
  const bring = async ({ model, commit, files }: Part, { onProgress, ...caller }: FetchOptions): Promise<number> => {
    const wanted = [...new Map(files.map((file) => [file.hash, file])).values()];
    const here = new Set<string>();
    for (const file of wanted) if (await isSealed(blobOf(file), file)) here.add(file.hash);
    const missing = wanted.filter(({ hash }) => !here.has(hash));
    if (missing.length === 0) return 0;
    const total = sumOf(missing);
    await checkRoom(blobs, { model, sizeBytes: total - (await sumPartial(missing.map(blobOf))) });
    const arrived = new Map<string, number>();
    const tell = () => {
      const bytes = [...arrived.values()].reduce((sum, size) => sum + size, 0);
      onProgress(`fetching model ${formatModel({ ...model, commit: null })}: ${formatBytes(bytes)} of ${formatBytes(total)}`);
    };
    tell();
    const ticking = setInterval(tell, PROGRESS_MS).unref();
    try {
      await forEachOf(missing, AT_ONCE, async (file) => {
        await fly({ model, commit }, file, { ...caller, onBytes: (bytes) => arrived.set(file.hash, bytes) });
        arrived.set(file.hash, file.sizeBytes);
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
      const isHere = () => isWhole({ sets, key, blobOf, now: now() });
      if (await isHere()) return { ...prepared, bytes: 0 };
      const bytes = await fetches
        .join(nameOf(key, token), { signal: leaving, onNews: onProgress }, async (work) => {
          if (await isHere()) return 0;
          return fetchAll(models, key, { token, onProgress: work.tell, signal: AbortSignal.any([signal, work.signal]) });
        })
        .catch((thrown: unknown) => {
          throw signal.aborted || leaving.aborted ? givenUp(thrown, signal.aborted) : wrapDisk(thrown);
        });
      return { ...prepared, bytes };
    },
    async forget(except) {
      // A set that is being made has links to nothing yet.
      if (!isIdle()) return;
      const kept = new Set(except.map(keyOf));
      for (const name of await listFolder(sets)) {
        if (kept.has(name.replace(/\.json$/, '')) || !(await isOld(join(sets, name.replace(/(\.json)?$/, '.json')), now()))) continue;
        log.debug({ name }, 'models that no release names are removed');
        await rm(join(sets, name), { recursive: true, force: true });
      }
      for (const name of await listFolder(blobs)) {
        const found = await stat(join(blobs, name)).catch(() => undefined);
        const isNeedless = found?.nlink === 1 && now() - found.ctimeMs > KEEP_MS;
        if (isNeedless && isIdle()) await rm(join(blobs, name), { force: true });
      }
    },
    close: () => hub.close(),
  };
}

interface Flying extends Caller {
  /** How many bytes of the file are here. */
  readonly onBytes: (bytes: number) => void;
}

function keyOf(models: readonly string[]): string {
  return createHash('sha256').update(models.join('\n')).digest('hex').slice(0, 32);
}

/** The set is there and every file in it is as it came; it is in use from now on. */
async function isWhole({ sets, key, blobOf, now }: Omit<SetPlan, 'parts'> & { readonly now: number }): Promise<boolean> {
  const list = join(sets, `${key}.json`);
  const text = await readFile(list, 'utf8').catch(() => undefined);
  if (text === undefined) return false;
  const snapshots = JSON.parse(text) as readonly Snapshot[];
  for (const file of snapshots.flatMap(({ files }) => files)) if (!(await isSealed(blobOf(file), file))) return false;
  if (!(await stat(join(sets, key)).catch(() => undefined))) return false;
  await utimes(list, now / 1000, now / 1000);
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

function givenUp(cause: unknown, isStopping: boolean): WherryError {
  const why = isStopping ? 'the server stops' : 'nobody waits for them any more';
  return new WherryError('MODEL_UNAVAILABLE', `the fetch of models was given up: ${why}`, {
    hint: 'what came is kept, and the next start goes on behind it',
    cause,
  });
}

/** What the disk throws, as a failure of the models. */
function wrapDisk(thrown: unknown): WherryError {
  if (thrown instanceof WherryError && thrown.code !== 'SIZE_INVALID') return thrown;
  return new WherryError('MODEL_UNAVAILABLE', `models could not be kept: ${thrown instanceof Error ? thrown.message : String(thrown)}`, {
    hint: 'look at the disk of the data directory',
    cause: thrown,
  });
}
