import { createHash, type Hash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { type FileHandle, open, rename, rm, stat, utimes } from 'node:fs/promises';
import type { Dispatcher } from 'undici';
import { WherryError } from '../base/errors.js';
import { formatModel, type Model } from '../domain/model.js';
import { writeAll } from '../oci/durable-file.js';
import { TRIES } from '../registry/connections.js';
import { backOffMs } from '../registry/refusal.js';
import { type Caller, type Hub, isPassing, type ModelFile, pauseAfter, unreachable } from './hub.js';

/** A file that is being fetched into `target`. */
export interface Download {
  readonly hub: Pick<Hub, 'open'>;
  readonly model: Model;
  readonly commit: string;
  readonly file: ModelFile;
  readonly target: string;
  readonly caller: Caller;
  readonly retryDelayMs: number;
  /** How many bytes of it are here. */
  readonly onBytes: (done: number) => void;
}

/** What is whole has this time of change: whoever writes to it sets another. */
const SEALED_AT = new Date('2000-01-01T00:00:00Z');
/** A try that brought less did not get on. */
const LEAST_BYTES = 64 * 1024;

/** A file that was fetched whole and that nobody changed since. */
export async function isSealed(target: string, { sizeBytes }: Pick<ModelFile, 'sizeBytes'>): Promise<boolean> {
  const found = await stat(target).catch(() => undefined);
  return found?.isFile() === true && found.size === sizeBytes && found.mtimeMs === SEALED_AT.getTime();
}

/** What is here of a file that was not fetched whole yet. */
export function partialOf(target: string): string {
  return `${target}.incomplete`;
}

/**
 * Fetches a file: `target` appears whole, verified and on disk, or not at all. What came before a failure stays, and the next try, also of
 * another server, goes on behind it. Throws MODEL_UNKNOWN, DENIED, MODEL_UNAVAILABLE.
 */
export async function download(options: Download): Promise<void> {
  const { file, target } = options;
  const partial = partialOf(target);
  const handle = await open(partial, constants.O_RDWR | constants.O_CREAT, 0o644);
  try {
    const size = (await handle.stat()).size;
    // Bytes from before may be others than were sent: then once more, from the beginning.
    const isResumed = size > 0 && size <= file.sizeBytes;
    if (size > 0 && !isResumed) await handle.truncate(0);
    const isRight = (await fill(options, handle, isResumed ? size : 0)) || (isResumed && (await refill(options, handle)));
    if (!isRight) {
      await handle.truncate(0);
      throw new WherryError(
        'MODEL_UNAVAILABLE',
        `'${file.path}' of model '${formatModel(options.model)}' came with other bytes than its hash`,
        {
          hint: 'try again; if it returns, the hub or what stands before it sends wrong bytes',
        },
      );
    }
    await handle.chmod(0o444);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await utimes(partial, SEALED_AT, SEALED_AT);
  await rm(target, { force: true });
  await rename(partial, target);
}

async function refill(options: Download, handle: FileHandle): Promise<boolean> {
  await handle.truncate(0);
  return fill(options, handle, 0);
}

/** Brings what is missing; true when the whole has the hash. Tries count from the last one that got on. */
async function fill(options: Download, handle: FileHandle, size: number): Promise<boolean> {
  const { file, retryDelayMs, target } = options;
  const { signal } = options.caller;
  let hash = startHash(file);
  let done = size;
  if (size > 0) for await (const part of createReadStream(partialOf(target), { end: size - 1 })) hash.update(part as Uint8Array);
  const take = async (part: Uint8Array) => {
    await writeAll(handle, part, done);
    hash.update(part);
    done += part.length;
    options.onBytes(done);
  };
  const restart = async () => {
    await handle.truncate(0);
    hash = startHash(file);
    done = 0;
  };
  options.onBytes(done);
  let best = done;
  for (let broken = 0; done < file.sizeBytes; ) {
    try {
      await readOn(options, done, { take, restart });
    } catch (thrown) {
      broken = done < best + LEAST_BYTES ? broken + 1 : 1;
      best = Math.max(best, done);
      if (broken >= TRIES || !isPassing(thrown) || signal.aborted) throw thrown;
      await pauseAfter(thrown, backOffMs(broken, retryDelayMs), signal);
    }
  }
  return hash.digest('hex') === file.hash;
}

interface Sink {
  readonly take: (part: Uint8Array) => Promise<void>;
  /** The hub begins from the first byte. */
  readonly restart: () => Promise<void>;
}

/** One request, from a byte to the end of the file. */
async function readOn({ hub, model, commit, file, caller }: Download, from: number, { take, restart }: Sink): Promise<void> {
  const answer = await hub.open({ model, commit, path: file.path, from }, caller);
  try {
    if (from > 0 && !isRangeFrom(answer, from)) await restart();
    let left = file.sizeBytes - (isRangeFrom(answer, from) ? from : 0);
    for await (const part of readBody(answer, model)) {
      if (part.length > left)
        throw new WherryError('MODEL_UNAVAILABLE', `'${file.path}' of model '${formatModel(model)}' is longer than the hub's list says`);
      left -= part.length;
      await take(part);
    }
    if (left > 0) throw unreachable('the hub', model, new Error(`'${file.path}' ended ${left} bytes early`));
  } finally {
    // Unheard, the error of a body that is given up would end the process.
    answer.body.on('error', () => {}).destroy();
  }
}

function isRangeFrom({ statusCode, headers }: Dispatcher.ResponseData, from: number): boolean {
  return statusCode === 206 && String(headers['content-range'] ?? '').startsWith(`bytes ${from}-`);
}

/** What breaks is the line, not the disk. */
async function* readBody({ body }: Dispatcher.ResponseData, model: Model): AsyncIterable<Uint8Array> {
  const parts: AsyncIterator<Uint8Array> = body[Symbol.asyncIterator]();
  for (;;) {
    const next = await parts.next().catch((cause: unknown) => {
      throw unreachable('the hub', model, cause);
    });
    if (next.done) return;
    yield next.value;
  }
}

/** Git hashes a file behind a head of its own. */
function startHash({ hash, sizeBytes }: ModelFile): Hash {
  return hash.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${sizeBytes}\0`);
}
