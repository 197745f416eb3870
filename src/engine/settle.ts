import type { Job, Outcome } from '../domain/job.js';
import type { Worker } from '../domain/worker.js';
import { type Core, LEASE_MS } from './core.js';
import type { Done, Report } from './engine.js';
import { announceEnd, retainUntil } from './jobs.js';
import { confirmStops } from './stops.js';
import { canTake, handOut } from './take.js';

/**
 * What a worker posts about a job (worker-protocol §6): progress, or its end. The token is (job, worker): a post for a job
 * that this worker does not hold any more is ignored, so that it may be repeated. Durable once resolved.
 */
export async function done(core: Core, worker: Worker, report: Report): Promise<Done> {
  const { id: workerId } = worker;
  const { jobId, body } = report;
  // Before the result: a worker that is to be replaced gets no other job in between.
  if (body?.['stopPod'] === true) replace(core, workerId);
  const job = await core.store.getJob(jobId);
  if (job?.state !== 'IN_PROGRESS' || job.workerId !== workerId) {
    core.log.info({ workerId, jobId }, 'a late or foreign result was ignored');
    return IGNORED;
  }
  if (body && 'status' in body && body['status'] === 'IN_PROGRESS') {
    await core.store.report({ jobId, workerId, progress: outputOf(report) ?? 'null' });
    core.missedPings.delete(jobId);
    return IGNORED;
  }
  return settle(core, { worker, job, report });
}

const IGNORED: Done = { isEnd: false, next: undefined };

interface End {
  readonly worker: Worker;
  readonly job: Job;
  readonly report: Report;
}

async function settle(core: Core, { worker, job, report }: End): Promise<Done> {
  const now = core.clock.now();
  const { id: workerId, release } = worker;
  const { jobId, next: signal } = report;
  const wantsNext = signal !== undefined && report.body?.['stopPod'] !== true && canTake(worker);
  const settled = await core.store.settle({
    jobId,
    workerId,
    endpointId: job.endpointId,
    outcome: outcomeOf(report),
    retainUntil: await retainUntil(core, job),
    now,
    ...(wantsNext && { next: { release, leaseUntil: now + LEASE_MS } }),
  });
  if (!settled) return IGNORED;
  core.occupations.end(workerId, jobId, now);
  core.meter.recordRun(job.endpointId, now - (job.claimedAt ?? now));
  core.fleet.forgetCrashes(job.endpointId, release);
  announceEnd(core, settled.job);
  if (!settled.next || !signal) return { isEnd: true, next: undefined };
  // As a take would: it is alive, and holds nothing else.
  core.seen.set(workerId, now);
  confirmStops(core, workerId, 'none');
  const [next] = await handOut(core, worker, [settled.next], signal);
  return { isEnd: true, next };
}

/** The table of worker-protocol §6.2. `{}` is success without output; a falsy error is none. */
export function outcomeOf(report: Pick<Report, 'body' | 'rawOutput'>): Outcome {
  const { body } = report;
  if (!body) return { state: 'FAILED', output: null, error: JSON.stringify('the worker posted a result that is not a JSON object') };
  const output = outputOf(report);
  if (body['error']) return { state: 'FAILED', output, error: JSON.stringify(body['error']) };
  return { state: 'COMPLETED', output, error: null };
}

function outputOf({ body, rawOutput }: Pick<Report, 'body' | 'rawOutput'>): string | null {
  if (!body || !('output' in body)) return null;
  return rawOutput ?? JSON.stringify(body['output'] ?? null);
}

/** The worker asked for its own replacement (refresh_worker). */
function replace(core: Core, workerId: string): void {
  const drained = core.fleet.drain(workerId, { reason: 'it asked to be replaced', graceMs: 5_000 });
  drained.catch((cause: unknown) => core.log.error({ err: cause, workerId }, 'a worker could not be replaced'));
}
