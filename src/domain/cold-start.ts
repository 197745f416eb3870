import type { Job } from './job.js';
import { parseThaws, type Thaw, type Timeline, type Worker } from './worker.js';

/** No worker is started or thawed faster: a job that was picked up sooner found one ready. */
const COLDEST_MS = 1;

type Run = Pick<Job, 'queuedAt' | 'claimedAt' | 'finishedAt'>;
type Started = Pick<Worker, 'createdAt' | 'readyAt' | 'start'>;

/**
 * How the cold start of a job went, be it a start or a thaw of its worker: each step in milliseconds after its submission (extension B8); one
 * that had happened before is negative. Undefined for a job that found a worker ready.
 */
export function timelineOf(job: Run, worker: Started & Pick<Worker, 'thaws'>): Timeline | undefined {
  const { queuedAt, claimedAt } = job;
  if (claimedAt === null || claimedAt - queuedAt < COLDEST_MS) return undefined;
  const isWokenFor = ({ decidedAt, readyAt }: Thaw) => decidedAt >= queuedAt && readyAt <= claimedAt;
  const thaw = parseThaws(worker.thaws).findLast(isWokenFor);
  if (thaw) return describeThaw(job, thaw);
  return worker.readyAt === null || worker.readyAt <= queuedAt ? undefined : describeStart(job, worker);
}

function describeThaw(job: Run, { decidedAt, startedAt, readyAt }: Thaw): Timeline {
  const since = sinceQueued(job);
  const steps = { decide: since(decidedAt), pull: null, create: null, start: since(startedAt), ready: since(readyAt) };
  return { ...endsOf(job), path: 'thaw', ...steps };
}

function describeStart(job: Run, { createdAt, readyAt, start }: Started): Timeline {
  const since = sinceQueued(job);
  return {
    ...endsOf(job),
    path: start?.path ?? null,
    decide: since(createdAt),
    pull: start === null ? null : { at: since(start.preparedAt), bytes: start.bytes, cached: start.isCached },
    create: since(start?.madeAt),
    start: since(start?.startedAt),
    ready: since(readyAt),
  };
}

function endsOf(job: Run): Pick<Timeline, 'acceptedAt' | 'take' | 'done'> {
  const since = sinceQueued(job);
  return { acceptedAt: new Date(job.queuedAt).toISOString(), take: since(job.claimedAt), done: since(job.finishedAt) };
}

const sinceQueued =
  ({ queuedAt }: Run) =>
  (at: number | null | undefined) =>
    at == null ? null : at - queuedAt;

/** What a job spent its time with, in order. `wait` is of one that found a worker ready. */
const PHASES = ['wait', 'decide', 'pull', 'create', 'start', 'ready', 'take', 'run'] as const;

/** One phase, in milliseconds after the submission. */
export interface Phase {
  readonly name: (typeof PHASES)[number];
  readonly from: number;
  readonly to: number;
}

/** The phases of a cold start, each from the step before it to its own; what was before the submission is left out. */
export function phasesOf({ decide, pull, create, start, ready, take, done }: Timeline): readonly Phase[] {
  const steps = { decide, pull: pull?.at, create, start, ready, take, run: done } as const;
  const phases: Phase[] = [];
  let from = 0;
  for (const name of PHASES) {
    const at = name === 'wait' ? null : steps[name];
    if (at == null || at < from) continue;
    phases.push({ name, from, to: at });
    from = at;
  }
  return phases;
}

/** The phases of a job that found a worker ready. */
export function warmPhases({
  delayTime,
  executionTime,
}: {
  readonly delayTime?: number;
  readonly executionTime?: number;
}): readonly Phase[] {
  if (delayTime === undefined) return [];
  const waited: Phase = { name: 'wait', from: 0, to: delayTime };
  return executionTime === undefined ? [waited] : [waited, { name: 'run', from: delayTime, to: delayTime + executionTime }];
}

/** The ledger as one line of a log, for instance `cold (spawn): decide 2 ms, start 12 ms, ready 310 ms, take 4 ms; 328 ms in all`. */
export function formatTimeline(timeline: Timeline): string {
  const phases = phasesOf({ ...timeline, done: null });
  const parts = phases.map(({ name, from, to }) => `${name} ${to - from} ms${name === 'pull' ? formatPull(timeline) : ''}`);
  return `cold (${timeline.path ?? 'unknown'}): ${parts.join(', ')}; ${timeline.take ?? 0} ms in all`;
}

function formatPull({ pull }: Timeline): string {
  return pull === null || pull.cached ? '' : ` for ${pull.bytes} bytes`;
}
