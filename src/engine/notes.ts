import type { Endpoint } from '../domain/endpoint.js';
import type { Job } from '../domain/job.js';
import type { JobNotes } from '../domain/job-view.js';
import { explainWait, type WaitSample } from '../domain/waiting.js';
import { parseThaws, type Thaw, type Timeline, type Worker } from '../domain/worker.js';
import type { Backoff } from './backoff.js';
import type { Core } from './core.js';
import { requireEndpoint } from './jobs.js';
import { findOpenRollout } from './rollout.js';

/** No worker is started or thawed faster: a job that was picked up sooner found one ready. */
const COLDEST_MS = 1;

/** Notes of one job, made when somebody asks. */
export async function noteJob(core: Core, backoff: Backoff, job: Job): Promise<JobNotes> {
  if (job.state === 'IN_QUEUE') return { waiting: explainWait(await sampleWait(core, backoff, job), core.clock.now()) };
  if (job.claimedAt === null || job.workerId === null || job.claimedAt - job.queuedAt < COLDEST_MS) return {};
  const worker = await core.store.getWorker(job.workerId);
  if (!worker) return {};
  const isWokenFor = ({ decidedAt, readyAt }: Thaw) => decidedAt >= job.queuedAt && readyAt <= (job.claimedAt ?? 0);
  const thaw = parseThaws(worker.thaws).findLast(isWokenFor);
  if (thaw) return { timeline: describeThaw(job, thaw) };
  return worker.readyAt === null || worker.readyAt <= job.queuedAt ? {} : { timeline: describeStart(job, worker) };
}

const sinceQueued =
  ({ queuedAt }: Job) =>
  (at: number | null | undefined) =>
    at == null ? null : at - queuedAt;

function describeThaw(job: Job, { decidedAt, startedAt, readyAt }: Thaw): Timeline {
  const since = sinceQueued(job);
  return {
    acceptedAt: new Date(job.queuedAt).toISOString(),
    path: 'thaw',
    decide: since(decidedAt),
    pull: null,
    create: null,
    start: since(startedAt),
    ready: since(readyAt),
    take: since(job.claimedAt),
    done: since(job.finishedAt),
  };
}

/** Each step in milliseconds after the submission (extension B8); one that had happened before is negative. */
function describeStart(job: Job, { createdAt, readyAt, start }: Worker): Timeline {
  const since = sinceQueued(job);
  return {
    acceptedAt: new Date(job.queuedAt).toISOString(),
    path: start?.path ?? null,
    decide: since(createdAt),
    pull: start === null ? null : { at: since(start.preparedAt), bytes: start.bytes, cached: start.isCached },
    create: since(start?.madeAt),
    start: since(start?.startedAt),
    ready: since(readyAt),
    take: since(job.claimedAt),
    done: since(job.finishedAt),
  };
}

async function sampleWait(core: Core, backoff: Backoff, job: Job): Promise<WaitSample> {
  const { endpointId, priority, queuedAt } = job;
  const endpoint = await requireEndpoint(core, endpointId);
  const all = await core.store.listWorkers(endpointId, true);
  const live = all.filter(({ state, isCandidate }) => state !== 'STOPPED' && !isCandidate);
  const count = (...states: readonly string[]) => live.filter(({ state }) => states.includes(state)).length;
  const { inQueue } = await core.store.sampleQueue(endpointId);
  const rollout = await findOpenRollout(core, endpointId);
  const starting = all.filter(({ state }) => state === 'INITIALIZING');
  return {
    priority,
    queuedAt,
    queued: inQueue,
    hasRelease: endpoint.activeRelease !== null,
    isProving: rollout !== undefined,
    pausedReason: endpoint.pausedReason,
    max: endpoint.settings.scale.max,
    starting: starting.length,
    startingSince: starting[0]?.createdAt ?? null,
    pulling: starting.filter(({ start }) => start === null).length,
    busy: count('RUNNING'),
    idle: live.filter(({ id, state }) => state === 'IDLE' && core.freezer.awaitedSince(id) === undefined).length,
    thawing: live.filter(({ id }) => core.freezer.awaitedSince(id) !== undefined).length,
    stopping: count('DRAINING', 'UNHEALTHY'),
    throttled: describeThrottled(core, all),
    nextStartAt: backoff.nextStartAt({ endpointId, release: endpoint.activeRelease ?? 0 }),
    pinned: pinnedTo(job, endpoint, all),
    lastEnd: lastEnd(all),
  };
}

/** The workers of the release that the job is pinned to, when it is another one than the one that serves. */
function pinnedTo({ pinnedRelease }: Job, { activeRelease }: Endpoint, all: readonly Worker[]): WaitSample['pinned'] {
  if (pinnedRelease === null || pinnedRelease === activeRelease) return null;
  const own = all.filter(({ release, state }) => release === pinnedRelease && state !== 'STOPPED' && state !== 'DRAINING');
  return { release: pinnedRelease, workers: own.length, busy: own.filter(({ state }) => state === 'RUNNING').length };
}

function describeThrottled({ host }: Core, all: readonly Worker[]): WaitSample['throttled'] {
  const waiting = all.flatMap(({ id, state, createdAt: since }) => {
    const lack = state === 'THROTTLED' ? host.lackOf(id) : undefined;
    return lack === undefined ? [] : [{ since, lack }];
  });
  const [first] = waiting;
  return first === undefined ? null : { count: waiting.length, ...first };
}

function lastEnd(workers: readonly Worker[]): WaitSample['lastEnd'] {
  // One that never had room did not end.
  const ended = workers.filter(({ state, exitCode, admittedAt }) => state === 'STOPPED' && exitCode !== 0 && admittedAt !== null);
  const newest = ended.sort((a, b) => (a.stoppedAt ?? 0) - (b.stoppedAt ?? 0)).at(-1);
  return newest === undefined
    ? null
    : { at: newest.stoppedAt ?? newest.createdAt, reason: newest.reason ?? 'it is gone', isStarted: newest.start !== null };
}
