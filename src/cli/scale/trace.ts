import { readFile } from 'node:fs/promises';
import type { ApiClient } from '../../api/client.js';
import type { JobRecordView, WorkerView } from '../../api/resources.js';
import { messageOf, WherryError } from '../../base/errors.js';
import type { TracedRequest } from '../../domain/simulation.js';
import { readDuration } from './policy.js';

/** Requests as they came; of some it is not known how long they ran. `at` in milliseconds. */
export interface Trace {
  readonly arrivals: readonly { readonly at: number; readonly runMs: number | null }[];
  /** How long workers took from the decision to readiness; null when none is known. */
  readonly coldMs: number | null;
}

/** What the server gives out at once. */
const MOST_JOBS = 10_000;

/** The jobs of an endpoint whose records are kept, and the starts of its workers. */
export async function readRecorded(client: ApiClient, endpointId: string, sinceAt: number): Promise<Trace> {
  const [jobs, workers] = await Promise.all([
    client.listJobs(endpointId, { limit: MOST_JOBS }),
    client.listWorkers(endpointId, { all: true }),
  ]);
  const arrivals = jobs
    .filter(wasServed)
    .map(({ submittedAt, executionTime = null }) => ({ at: Date.parse(submittedAt), runMs: executionTime }));
  return { arrivals: arrivals.filter(({ at }) => at >= sinceAt), coldMs: medianStart(workers) };
}

/** A job that ended without a worker asked for none in the end. */
function wasServed({ status, executionTime }: Pick<JobRecordView, 'status' | 'executionTime'>): boolean {
  return executionTime !== undefined || status === 'IN_QUEUE' || status === 'IN_PROGRESS';
}

function medianStart(workers: readonly WorkerView[]): number | null {
  const took = workers.flatMap(({ createdAt, readyAt }) => (readyAt === null ? [] : [Date.parse(readyAt) - Date.parse(createdAt)]));
  return took.length === 0 ? null : (took.toSorted((a, b) => a - b)[Math.floor(took.length / 2)] ?? null);
}

/**
 * A file of arrivals. CSV: a line each, the moment (RFC 3339, or seconds or a duration from the beginning) and how long it ran, which may
 * be left out. JSON: a list of the same as `{"at", "run"}` or bare moments, or what `wherry jobs --json` prints. Throws USAGE.
 */
export async function readTraceFile(file: string): Promise<Trace> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new WherryError('USAGE', `'${file}' cannot be read: ${messageOf(cause)}`, {
      hint: 'name a .csv or .json file of arrivals',
      cause,
    });
  });
  const arrivals = /^\s*[[{]/.test(text) ? parseJson(text, file) : parseCsv(text, file);
  return { arrivals, coldMs: null };
}

type Arrivals = Trace['arrivals'];

function parseCsv(text: string, file: string): Arrivals {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.flatMap((line, index) => {
    const [at = '', run = ''] = line.split(',').map((cell) => cell.trim());
    // A head names the columns.
    if (line === '' || line.startsWith('#') || (index === 0 && !/^\d/.test(at))) return [];
    return [readArrival(at, run === '' ? null : run, `${file}:${index + 1}`)];
  });
}

function parseJson(text: string, file: string): Arrivals {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new WherryError('USAGE', `'${file}' is not JSON: ${messageOf(cause)}`, { hint: 'write a list of arrivals', cause });
  }
  const list = Array.isArray(value) ? value : (value as { items?: unknown } | null)?.items;
  if (!Array.isArray(list))
    throw new WherryError('USAGE', `'${file}' holds no list of arrivals`, { hint: 'write for instance [{"at": 0.5, "run": "300ms"}]' });
  return list.flatMap((entry: unknown, index) => readEntry(entry, `${file}: entry ${index + 1}`));
}

function readEntry(entry: unknown, where: string): Arrivals {
  if (typeof entry !== 'object' || entry === null) return [readArrival(String(entry), null, where)];
  const { at, run, submittedAt, executionTime, status } = entry as Partial<Record<'at' | 'run', string | number>> & Partial<JobRecordView>;
  if (submittedAt !== undefined && status !== undefined) {
    return wasServed({ status, executionTime } as JobRecordView) ? [{ at: Date.parse(submittedAt), runMs: executionTime ?? null }] : [];
  }
  return [readArrival(String(at ?? ''), run === undefined ? null : String(run), where)];
}

function readArrival(at: string, run: string | null, where: string): Arrivals[number] {
  const moment = /^\d{4}-\d{2}-\d{2}T/.test(at) ? Date.parse(at) : readDuration(`${where}: moment`, at);
  if (!Number.isNaN(moment)) return { at: moment, runMs: run === null ? null : readDuration(`${where}: run`, run) };
  throw new WherryError('USAGE', `${where}: '${at}' is not a moment`, { hint: 'write RFC 3339, seconds or a duration from the beginning' });
}

/** The requests in order, from the first one on. Those of unknown length run as long as the median of the others, without any for `runMs`. */
export function completeTrace({ arrivals }: Trace, runMs: number | undefined): readonly TracedRequest[] {
  const known = arrivals.flatMap((arrival) => arrival.runMs ?? []).toSorted((a, b) => a - b);
  const other = runMs ?? known[Math.floor(known.length / 2)] ?? 1_000;
  const first = arrivals.reduce((least, { at }) => Math.min(least, at), Number.POSITIVE_INFINITY);
  return arrivals.map((arrival) => ({ at: arrival.at - first, runMs: arrival.runMs ?? other })).toSorted((a, b) => a.at - b.at);
}
