import { isTerminal, type Job, type JobFacts } from '../domain/job.js';

/** The job object of job-api §4 as JSON text; `output` and `error` are the worker's own text. */
export function formatJob(job: Job): string {
  const members = formatFacts(job);
  if (job.state === 'COMPLETED') members.push(`"output":${job.output ?? 'null'}`);
  else if (job.output !== null) members.push(`"output":${job.output}`);
  if (job.error !== null) members.push(`"error":${job.error}`);
  return `{${members.join(',')}}`;
}

/** The job object without `output` and `error`, as the members of its JSON text. */
export function formatFacts(job: JobFacts): string[] {
  const members = [`"id":${JSON.stringify(job.id)}`, `"status":"${job.state}"`];
  const isEnded = isTerminal(job.state);
  if (job.claimedAt !== null && job.state !== 'IN_QUEUE') {
    members.push(`"delayTime":${Math.max(0, job.claimedAt - job.submittedAt)}`);
    if (isEnded) members.push(`"executionTime":${Math.max(0, (job.finishedAt ?? job.claimedAt) - job.claimedAt)}`);
    if (job.workerId !== null) members.push(`"workerId":${JSON.stringify(job.workerId)}`);
  } else if (isEnded) {
    // Never picked up: clients still expect integers in a terminal state.
    members.push(`"delayTime":${Math.max(0, (job.finishedAt ?? job.submittedAt) - job.submittedAt)}`, '"executionTime":0');
  }
  return members;
}
