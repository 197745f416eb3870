import { WherryError } from '../base/errors.js';
import { describeHealth } from '../domain/health.js';
import { isTerminal, type Job } from '../domain/job.js';
import type { Worker, WorkerState } from '../domain/worker.js';
import { type Backoff, CRASH_BUDGET } from './backoff.js';
import type { Core } from './core.js';
import { countStates } from './figures.js';
import { requireEndpoint, requireJob } from './jobs.js';
import { findLastCrash } from './last-crash.js';
import type { LogLine } from './log-line.js';
import { explainQueue, noteJob } from './notes.js';
import type { EndpointWhy, JobWhy } from './reports.js';
import { findOpenRollout } from './rollout.js';

const JOB_LINES = 10;
/** Those that stopped last. */
const RECENT = 20;

/** Throws JOB_UNKNOWN, JOB_EXPIRED. */
export async function explainJob(
  core: Core,
  backoff: Backoff,
  { endpointId, jobId }: { readonly endpointId?: string; readonly jobId: string },
): Promise<JobWhy> {
  const job = await requireJob(core, endpointId ?? (await ownerOf(core, jobId)), jobId);
  const notes = await noteJob(core, backoff, job);
  const worker = job.workerId === null ? undefined : await core.store.getWorker(job.workerId);
  const release = job.release === null ? undefined : await core.store.getRelease(job.endpointId, job.release);
  return { job, notes, worker, release, lines: await readJobLines(core, job) };
}

async function ownerOf({ store }: Core, jobId: string): Promise<string> {
  const job = await store.getJob(jobId);
  if (job) return job.endpointId;
  throw new WherryError('JOB_UNKNOWN', `there is no job '${jobId}'`, { hint: '`wherry jobs` lists recent jobs' });
}

/** Of the worker that had it last. */
async function readJobLines({ logs }: Core, { id, endpointId, state, workerId }: Job): Promise<readonly LogLine[]> {
  if (workerId === null) return [];
  const own = await logs.read({ endpointId, jobId: id, limit: JOB_LINES }, [workerId]);
  const hasPrinted = own.some(({ source }) => source === 'container');
  if (hasPrinted || !isTerminal(state) || state === 'COMPLETED') return own;
  return logs.read({ endpointId, workerId, limit: JOB_LINES }, [workerId]);
}

/** Throws ENDPOINT_UNKNOWN. */
export async function explainEndpoint(core: Core, backoff: Backoff, endpointId: string): Promise<EndpointWhy> {
  const endpoint = await requireEndpoint(core, endpointId);
  const { store, clock } = core;
  const [queue, workers, rollout] = await Promise.all([
    store.sampleQueue(endpointId),
    store.listWorkers(endpointId, RECENT),
    findOpenRollout(core, endpointId),
  ]);
  const counts = { ...countStates(workers), STOPPED: (await store.countStopped()).get(endpointId) ?? 0 };
  const loop = backoff.loopOf(endpointId);
  const { inQueue, oldestAt, queuedNormal } = queue;
  const priority = queuedNormal > 0 ? 'normal' : 'low';
  const head = { endpointId, priority, queuedAt: oldestAt ?? clock.now() } as const;
  return {
    endpoint,
    summary: describeHealth({ endpoint, workers: counts, inQueue, oldestAt, crashLoop: loop, rollout }, clock.now()),
    queue,
    workers: counts,
    waiting: inQueue === 0 ? null : await explainQueue(core, backoff, head),
    crashLoop: loop ? { ...loop, budget: CRASH_BUDGET, last: await findLastCrash(core, endpointId, workers) } : null,
    rollout: rollout ?? null,
    release: endpoint.activeRelease === null ? null : ((await store.getRelease(endpointId, endpoint.activeRelease)) ?? null),
  };
}

const HOLDING: ReadonlySet<WorkerState> = new Set(['RUNNING', 'DRAINING', 'UNHEALTHY']);

/** Ids of the jobs that each of these workers has; those without any are left out. */
export async function listHeld({ store }: Core, workers: readonly Worker[]): Promise<ReadonlyMap<string, readonly string[]>> {
  const held = new Map<string, readonly string[]>();
  for (const { id, endpointId, state } of workers) {
    if (!HOLDING.has(state)) continue;
    const jobs = await store.listJobs({ endpointId, workerId: id, states: ['IN_PROGRESS'], limit: 1_000 });
    if (jobs.length > 0)
      held.set(
        id,
        jobs.map((job) => job.id),
      );
  }
  return held;
}
