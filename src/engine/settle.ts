import type { Job, Outcome } from '../domain/job.js';
import type { Core } from './core.js';
import type { JobDoneBody } from './engine.js';
import { announceEnd, retainUntil } from './jobs.js';

export interface Report {
  readonly workerId: string;
  readonly jobId: string;
  readonly body: JobDoneBody;
  /** Text of `body.output` as it was sent. */
  readonly rawOutput: string | undefined;
}

/**
 * What a worker posts about a job (worker-protocol §6): progress, or its end. The token is (job, worker): a post for a job
 * that this worker does not hold any more is ignored, so that it may be repeated. Durable once resolved. True when it ended the job.
 */
export async function done(core: Core, report: Report): Promise<boolean> {
  const { workerId, jobId, body } = report;
  // Before the result: a worker that is to be replaced gets no other job in between.
  if (body?.['stopPod'] === true) replace(core, workerId);
  const job = await core.store.getJob(jobId);
  if (job?.state !== 'IN_PROGRESS' || job.workerId !== workerId) {
    core.log.info({ workerId, jobId }, 'a late or foreign result was ignored');
    return false;
  }
  if (body && 'status' in body && body['status'] === 'IN_PROGRESS') {
    await core.store.report({ jobId, workerId, progress: outputOf(report) ?? 'null' });
    core.missedPings.delete(jobId);
    return false;
  }
  return settle(core, job, report);
}

async function settle(core: Core, job: Job, report: Report): Promise<boolean> {
  const now = core.clock.now();
  const { workerId, jobId } = report;
  const until = await retainUntil(core, job);
  const settled = await core.store.settle({
    jobId,
    workerId,
    endpointId: job.endpointId,
    outcome: outcomeOf(report),
    retainUntil: until,
    now,
  });
  if (!settled) return false;
  core.occupations.end(workerId, jobId, now);
  core.fleet.recordSuccess(job.endpointId);
  announceEnd(core, settled);
  return true;
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
