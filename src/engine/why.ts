import { WherryError } from '../base/errors.js';
import { isTerminal, type Job } from '../domain/job.js';
import type { Worker, WorkerState } from '../domain/worker.js';
import { type Backoff, CRASH_BUDGET } from './backoff.js';
import type { Core } from './core.js';
import { describeFigures, measureEndpoint } from './figures.js';
import { requireEndpoint, requireJob } from './jobs.js';
import { findLastCrash } from './last-crash.js';
import type { LogLine } from './log-line.js';
import { explainQueue, noteJob } from './notes.js';
import type { EndpointFigures, EndpointWhy, JobWhy } from './reports.js';

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

/** Also of one whose first release is under way. Throws ENDPOINT_UNKNOWN. */
export async function explainEndpoint(core: Core, backoff: Backoff, endpointId: string): Promise<EndpointWhy> {
  const endpoint = core.births.get(endpointId) ?? (await requireEndpoint(core, endpointId));
  const { store, clock } = core;
  const workers = await store.listWorkers(endpointId, RECENT);
  const stopped = (await store.countStopped()).get(endpointId) ?? 0;
  const live = workers.filter(({ state }) => state !== 'STOPPED');
  const figures = await measureEndpoint(core, backoff, { endpoint, live, stopped });
  const { queue, crashLoop: loop, rollout } = figures;
  const { activeRelease } = endpoint;
  const last = loop && (await findLastCrash(core, { endpointId, release: activeRelease }, workers));
  return {
    endpoint,
    summary: describeFigures(figures, clock.now()),
    queue,
    workers: figures.workers,
    waiting: await explainHead(core, backoff, figures),
    crashLoop: loop && { ...loop, budget: CRASH_BUDGET, last },
    rollout,
    preparing: core.preparations.get(endpointId) ?? null,
    release: activeRelease === null ? null : ((await store.getRelease(endpointId, activeRelease)) ?? null),
  };
}

/** Why the oldest job waits, taken as one that any release may run. */
async function explainHead(core: Core, backoff: Backoff, { endpoint, queue }: EndpointFigures): Promise<EndpointWhy['waiting']> {
  const { inQueue, oldestAt, queuedNormal } = queue;
  if (inQueue === 0) return null;
  const priority = queuedNormal > 0 ? 'normal' : 'low';
  return explainQueue(core, backoff, { endpointId: endpoint.id, priority, queuedAt: oldestAt ?? core.clock.now(), pinnedRelease: null });
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
