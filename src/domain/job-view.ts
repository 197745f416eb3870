import { isTerminal, type Job } from './job.js';

/** The answer to a submission: the same for every repetition of it (extension B9). */
export function formatReceipt({ id }: Pick<Job, 'id'>): string {
  return `{"id":${JSON.stringify(id)},"status":"IN_QUEUE"}`;
}

/** The answer of /stream (job-api §2): each chunk is the worker's own text. */
export function formatStream(job: Job, chunks: readonly string[]): string {
  const delay = job.claimedAt === null ? '' : `"delayTime":${delayOf(job)},`;
  return `{"id":${JSON.stringify(job.id)},"status":"${job.state}",${delay}"stream":[${chunks.map((output) => `{"output":${output}}`).join(',')}]}`;
}

/** Milliseconds a run waited for a worker, or until it ended without one. */
function delayOf({ queuedAt, claimedAt, finishedAt }: Job): number {
  return Math.max(0, (claimedAt ?? finishedAt ?? queuedAt) - queuedAt);
}

/** The job object of job-api §4 as JSON text; `output` and `error` are the worker's own text. */
export function formatJob(job: Job): string {
  const members = [`"id":${JSON.stringify(job.id)}`, `"status":"${job.state}"`];
  const isEnded = isTerminal(job.state);
  if (job.claimedAt !== null && job.state !== 'IN_QUEUE') {
    members.push(`"delayTime":${delayOf(job)}`);
    if (isEnded) members.push(`"executionTime":${Math.max(0, (job.finishedAt ?? job.claimedAt) - job.claimedAt)}`);
    if (job.workerId !== null) members.push(`"workerId":${JSON.stringify(job.workerId)}`);
  } else if (isEnded) {
    // Never picked up: clients still expect integers in a terminal state.
    members.push(`"delayTime":${delayOf(job)}`, '"executionTime":0');
  }
  if (job.state === 'COMPLETED') members.push(`"output":${job.output ?? 'null'}`);
  else if (job.output !== null) members.push(`"output":${job.output}`);
  if (job.error !== null) members.push(`"error":${job.error}`);
  return `{${members.join(',')}}`;
}
