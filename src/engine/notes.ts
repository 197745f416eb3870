import { timelineOf } from '../domain/cold-start.js';
import type { Endpoint } from '../domain/endpoint.js';
import type { Job } from '../domain/job.js';
import type { JobNotes } from '../domain/job-view.js';
import { explainWait, type Waiting, type WaitSample } from '../domain/waiting.js';
import type { Worker } from '../domain/worker.js';
import type { Backoff } from './backoff.js';
import type { Core } from './core.js';
import { requireEndpoint } from './jobs.js';
import { findLastCrash } from './last-crash.js';
import { findOpenRollout } from './rollout.js';

/** Notes of one job, made when somebody asks. */
export async function noteJob(core: Core, backoff: Backoff, job: Job): Promise<JobNotes> {
  if (job.state === 'IN_QUEUE') return { waiting: await explainQueue(core, backoff, job) };
  if (job.claimedAt === null || job.workerId === null) return {};
  const worker = await core.store.getWorker(job.workerId);
  const timeline = worker && timelineOf(job, worker);
  return timeline ? { timeline } : {};
}

/** Why a job waits; also asked for an endpoint, as if one of its jobs did. */
export async function explainQueue(core: Core, backoff: Backoff, job: QueuedJob): Promise<Waiting> {
  return explainWait(await sampleWait(core, backoff, job), core.clock.now());
}

type QueuedJob = Pick<Job, 'endpointId' | 'priority' | 'queuedAt' | 'pinnedRelease'>;

/** Those that stopped last explain why others wait; older ones do not. */
const RECENT = 20;

async function sampleWait(core: Core, backoff: Backoff, job: QueuedJob): Promise<WaitSample> {
  const { endpointId, priority, queuedAt } = job;
  const endpoint = await requireEndpoint(core, endpointId);
  const all = await core.store.listWorkers(endpointId, RECENT);
  const live = all.filter(({ state, isCandidate }) => state !== 'STOPPED' && !isCandidate);
  const count = (...states: readonly string[]) => live.filter(({ state }) => states.includes(state)).length;
  const { inQueue } = await core.store.sampleQueue(endpointId);
  const rollout = await findOpenRollout(core, endpointId);
  const starting = all.filter(({ state }) => state === 'INITIALIZING');
  const { activeRelease } = endpoint;
  const serving = { endpointId, release: activeRelease ?? 0 };
  const crashes = backoff.loopOf(serving)?.crashes ?? 0;
  // Of workers that did their work nobody asks how they ended.
  const isCrashTold = crashes > 0 || activeRelease === null;
  return {
    priority,
    queuedAt,
    queued: inQueue,
    hasRelease: activeRelease !== null,
    isProving: rollout !== undefined,
    pausedReason: endpoint.pausedReason,
    outage: core.fleet.outageOf(endpointId) ?? null,
    max: endpoint.settings.scale.max,
    starting: starting.length,
    startingSince: starting[0]?.createdAt ?? null,
    pulling: starting.filter(({ start }) => start === null).length,
    busy: count('RUNNING'),
    idle: live.filter(({ id, state }) => state === 'IDLE' && core.freezer.awaitedSince(id) === undefined).length,
    thawing: live.filter(({ id }) => core.freezer.awaitedSince(id) !== undefined).length,
    stopping: count('DRAINING', 'UNHEALTHY'),
    throttled: describeThrottled(core, all),
    pinned: pinnedTo(job, endpoint, all),
    startingNote: core.lastNotes.get(starting[0]?.id ?? '') ?? null,
    nextStartAt: backoff.nextStartAt(serving),
    crashes,
    lastCrash: isCrashTold ? await findLastCrash(core, { endpointId, release: activeRelease }, all) : null,
  };
}

/** The workers of the release that the job is pinned to, when it is another one than the one that serves. */
function pinnedTo({ pinnedRelease }: QueuedJob, { activeRelease }: Endpoint, all: readonly Worker[]): WaitSample['pinned'] {
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
