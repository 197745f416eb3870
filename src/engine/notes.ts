import { timelineOf } from '../domain/cold-start.js';
import type { Job } from '../domain/job.js';
import type { JobNotes } from '../domain/job-view.js';
import { explainWait, type Waiting, type WaitSample } from '../domain/waiting.js';
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

type QueuedJob = Pick<Job, 'endpointId' | 'priority' | 'queuedAt'>;

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
  const crashes = backoff.loopOf(endpointId)?.crashes ?? 0;
  // Of workers that did their work nobody asks how they ended.
  const isCrashTold = crashes > 0 || endpoint.activeRelease === null;
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
    idle: count('IDLE', 'FROZEN'),
    stopping: count('DRAINING', 'UNHEALTHY'),
    throttled: count('THROTTLED'),
    startingNote: core.lastNotes.get(starting[0]?.id ?? '') ?? null,
    nextStartAt: backoff.nextStartAt(endpointId),
    crashes,
    lastCrash: isCrashTold ? await findLastCrash(core, endpointId, all) : null,
  };
}
