import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCodeOf } from '../base/errors.js';
import type { Log } from '../base/log.js';
import { type Follower, followLines, withoutOrder } from './log-followers.js';
import type { LogFilter, LogLine } from './log-line.js';
import { lastWrittenAt, type OrderedLine, openSegments, readSegments, type Segments } from './log-segments.js';

export interface NewLine {
  readonly at: number;
  readonly source: LogLine['source'];
  readonly jobId: string | null;
  readonly text: string;
}

type Place = { readonly endpointId: string; readonly workerId: string };

/** What workers print, and what happens to them, kept beyond their death and followed live. */
export interface Logs {
  /** Resolves when the lines are written; rejects when the disk refuses them. Lines of one worker keep their order. */
  append(place: Place, lines: readonly NewLine[]): Promise<void>;
  /** Last lines of the workers, oldest first. */
  read(filter: LogFilter, workerIds: readonly string[]): Promise<readonly LogLine[]>;
  /** Lines after `afterId` and then live until the signal aborts; a reader that is too slow gets a mark in place of what it missed. */
  follow(
    filter: LogFilter & { readonly afterId?: string },
    workerIds: () => Promise<readonly string[]>,
    signal: AbortSignal,
  ): AsyncIterable<LogLine>;
  removeEndpoint(endpointId: string): Promise<void>;
  removeWorkersExcept(endpointId: string, workerIds: ReadonlySet<string>): Promise<void>;
}

/** A reader that was away gets so many lines of what it missed. */
const MISSED_LINES = 10_000;
/** Looking for few lines among many reads so much at most. */
const READ_BYTES = 256 * 1024 * 1024;
/** A file that was written so long before a moment holds nothing of it. */
const SINCE_SLACK_MS = 60_000;

/** Milliseconds between the stamp of a line and the time its file shows; beyond, the wall clock was set and times cannot be compared. */
const STAMP_SLACK_MS = 1_000;

/** `from` (ms) is later than that of every server before, also when the wall clock was set back: the order of lines begins there. */
export function createLogs({ dir, from, log }: { readonly dir: string; readonly from: number; readonly log: Log }): Logs {
  const writers = new Map<string, Promise<Segments>>();
  const queues = new Map<string, Promise<void>>();
  const followers = new Set<Follower>();
  let order = from * 1_000;
  const dirOf = ({ endpointId, workerId }: Place) => join(dir, endpointId, workerId);
  const writerOf = (place: Place): Promise<Segments> => {
    const known = writers.get(place.workerId) ?? openSegments(dirOf(place), place.workerId);
    writers.set(place.workerId, known);
    return known;
  };

  const write = async (place: Place, lines: readonly NewLine[]): Promise<void> => {
    const stored = lines.map((line) => ({ order: ++order, ...line }));
    const placed = await (await writerOf(place)).append(stored);
    placed.forEach((line, index) => {
      const ordered = { ...line, order: stored[index]?.order ?? 0 };
      for (const follower of followers) if (follower.isWanted(line, place.endpointId)) follower.push(ordered);
    });
  };

  const read = async (filter: LogFilter, workerIds: readonly string[], after = -1): Promise<readonly OrderedLine[]> => {
    const { since = 0 } = filter;
    const isWanted = (line: OrderedLine) => line.order > after && isSought(filter, line);
    const budget = { bytes: READ_BYTES };
    const chosen = filter.workerId === undefined ? workerIds : workerIds.filter((id) => id === filter.workerId);
    const places = await mapInTurn(chosen, async (workerId) => {
      const place = dirOf({ endpointId: filter.endpointId, workerId });
      return { workerId, place, writtenAt: await lastWrittenAt(place) };
    });
    const newestWrite = Math.max(0, ...places.map(({ writtenAt }) => writtenAt));
    let found: OrderedLine[] = [];
    for (const { workerId, place, writtenAt } of places.sort((a, b) => b.writtenAt - a.writtenAt)) {
      // Full, and this worker and those after it wrote nothing since the oldest line of what is found.
      const isComparable = (found.at(-1)?.at ?? 0) <= newestWrite + STAMP_SLACK_MS;
      if (found.length >= filter.limit && isComparable && writtenAt < (found[0]?.at ?? 0)) break;
      if (writtenAt < since - SINCE_SLACK_MS) continue;
      const lines = await readSegments(place, workerId, { limit: filter.limit, isWanted, budget });
      found = [...found, ...lines].sort((a, b) => a.order - b.order).slice(-filter.limit);
    }
    if (budget.bytes > 0) return found;
    const mark = markOf(
      `looked through the last ${READ_BYTES / 1024 / 1024} MiB only`,
      found[0] ?? { at: Math.round(newestWrite), order: 0 },
    );
    return [mark, ...found];
  };

  return {
    append: (place, lines) => {
      const before = queues.get(place.workerId) ?? Promise.resolve();
      const next = before.then(() => write(place, lines));
      const settled = next
        .catch((cause: unknown) => {
          log.error({ err: cause, ...place }, 'worker output could not be stored');
          writers.delete(place.workerId);
        })
        .then(() => {
          if (queues.get(place.workerId) === settled) queues.delete(place.workerId);
        });
      queues.set(place.workerId, settled);
      return next;
    },
    read: async (filter, workerIds) => (await read(filter, workerIds)).map(withoutOrder),
    follow: (filter, workerIds, signal) =>
      followLines({ isWanted: (line) => isSought(filter, line), endpointId: filter.endpointId, followers, signal }, async () => {
        const ids = await workerIds();
        const after = filter.afterId === undefined ? undefined : await orderOf(filter.afterId, filter.endpointId, dirOf);
        if (after === undefined) return read(filter, ids);
        const missed = await read({ ...filter, limit: MISSED_LINES }, ids, after);
        return missed.length < MISSED_LINES
          ? missed
          : [markOf('lines before this were dropped: the reader was away too long', missed[0] ?? { at: 0, order: 0 }), ...missed];
      }),
    removeEndpoint: async (endpointId) => {
      for (const name of await list(join(dir, endpointId))) writers.delete(name);
      await rm(join(dir, endpointId), { recursive: true, force: true });
    },
    removeWorkersExcept: async (endpointId, workerIds) => {
      for (const name of await list(join(dir, endpointId))) {
        if (workerIds.has(name)) continue;
        writers.delete(name);
        await rm(join(dir, endpointId, name), { recursive: true, force: true });
      }
    },
  };
}

const IN_TURN = 16;

/** Maps a few at a time: an endpoint may have had thousands of workers. */
async function mapInTurn<T, R>(items: readonly T[], map: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let start = 0; start < items.length; start += IN_TURN) {
    results.push(...(await Promise.all(items.slice(start, start + IN_TURN).map(map))));
  }
  return results;
}

async function orderOf(id: string, endpointId: string, dirOf: (place: Place) => string): Promise<number | undefined> {
  const workerId = id.split('/')[0] ?? '';
  if (!/^[a-z0-9-]+$/.test(workerId)) return undefined;
  const [line] = await readSegments(dirOf({ endpointId, workerId }), workerId, { limit: 1, isWanted: (candidate) => candidate.id === id });
  return line?.order;
}

/** Whether a line of the endpoint is what the filter asks for; its release is a matter of its worker. */
function isSought({ workerId, jobId, source, since, until, isMatch }: LogFilter, line: LogLine): boolean {
  return (
    (workerId === undefined || line.workerId === workerId) &&
    (jobId === undefined || line.jobId === jobId) &&
    (source === undefined || line.source === source) &&
    (since === undefined || line.at >= since) &&
    (until === undefined || line.at < until) &&
    (isMatch === undefined || isMatch(line.text))
  );
}

/** Stands before a line for what is missing there; it has no place of its own. */
function markOf(text: string, { at, order }: Pick<OrderedLine, 'at' | 'order'>): OrderedLine {
  return { id: '', at, source: 'system', workerId: '', jobId: null, text, order };
}

async function list(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir);
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return [];
    throw thrown;
  }
}
