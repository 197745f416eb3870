import type { Job } from '../domain/job.js';
import type { JobNotes } from '../domain/job-view.js';
import { explainWait, type WaitSample } from '../domain/waiting.js';
import type { Timeline, Worker } from '../domain/worker.js';
import type { Backoff } from './backoff.js';
import type { Core } from './core.js';
import { requireEndpoint } from './jobs.js';
import { findOpenRollout } from './rollout.js';

/** No runtime starts a worker faster: a job that was picked up sooner found one ready. */
const COLDEST_MS = 10;

/** Notes of one job, made when somebody asks. */
export async function noteJob(core: Core, backoff: Backoff, job: Job): Promise<JobNotes> {
  if (job.state === 'IN_QUEUE') return { waiting: explainWait(await sampleWait(core, backoff, job), core.clock.now()) };
  if (job.claimedAt === null || job.workerId === null || job.claimedAt - job.queuedAt < COLDEST_MS) return {};
  const worker = await core.store.getWorker(job.workerId);
  return worker?.readyAt == null || worker.readyAt <= job.queuedAt ? {} : { timeline: describeStart(job, worker) };
}

/** Each step in milliseconds after the submission (extension B8); one that had happened before is negative. */
function describeStart({ queuedAt, claimedAt, finishedAt }: Job, { createdAt, readyAt, start }: Worker): Timeline {
  const since = (at: number | null | undefined) => (at == null ? null : at - queuedAt);
  return {
    acceptedAt: new Date(queuedAt).toISOString(),
    path: start?.path ?? null,
    decide: since(createdAt),
    pull: start === null ? null : { at: since(start.preparedAt), bytes: start.bytes, cached: start.isCached },
    create: since(start?.madeAt),
    start: since(start?.startedAt),
    ready: since(readyAt),
    take: since(claimedAt),
    done: since(finishedAt),
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
    outage: core.fleet.outageOf(endpointId) ?? null,
    max: endpoint.settings.scale.max,
    starting: starting.length,
    startingSince: starting[0]?.createdAt ?? null,
    pulling: starting.filter(({ start }) => start === null).length,
    busy: count('RUNNING'),
    idle: count('IDLE', 'FROZEN'),
    stopping: count('DRAINING', 'UNHEALTHY'),
    nextStartAt: backoff.nextStartAt(endpointId),
    lastEnd: lastEnd(all),
  };
}

function lastEnd(workers: readonly Worker[]): WaitSample['lastEnd'] {
  const ended = workers.filter(({ state, exitCode }) => state === 'STOPPED' && exitCode !== 0);
  const newest = ended.sort((a, b) => (a.stoppedAt ?? 0) - (b.stoppedAt ?? 0)).at(-1);
  return newest === undefined
    ? null
    : { at: newest.stoppedAt ?? newest.createdAt, reason: newest.reason ?? 'it is gone', isStarted: newest.start !== null };
}
