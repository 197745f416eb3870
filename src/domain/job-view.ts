import { isTerminal, type Job, type JobFacts } from './job.js';
import { type ChunkPart, formatStreamMark } from './stream.js';
import type { Waiting } from './waiting.js';
import type { Timeline } from './worker.js';

/** What the job API says of a job beside RunPod's fields: why it waits (extension B1), or how its cold start went (B8). */
export interface JobNotes {
  readonly waiting?: Waiting;
  readonly timeline?: Timeline;
}

/** The answer to a submission: the same for every repetition of it (extension B9). */
export function formatReceipt({ id }: Pick<Job, 'id'>): string {
  return `{"id":${JSON.stringify(id)},"status":"IN_QUEUE"}`;
}

/** The answer of /stream (job-api §2). Readers who count (extension) get the number of each chunk and the mark to go on from. */
export function formatStream(job: Job, { chunks, mark }: ChunkPart, { isNumbered }: { readonly isNumbered: boolean }): string {
  const members = [`"id":${JSON.stringify(job.id)}`, `"status":"${job.state}"`];
  if (job.claimedAt !== null) members.push(`"delayTime":${delayOf(job)}`);
  if (isNumbered) members.push(`"next":${JSON.stringify(formatStreamMark(mark))}`);
  const first = mark.number - chunks.length + 1;
  const listed = chunks.map((output, at) => (isNumbered ? `{"number":${first + at},"output":${output}}` : `{"output":${output}}`));
  members.push(`"stream":[${listed.join(',')}]`);
  return `{${members.join(',')}}`;
}

/** Milliseconds a run waited for a worker, or until it ended without one. */
function delayOf({ queuedAt, claimedAt, finishedAt }: JobFacts): number {
  return Math.max(0, (claimedAt ?? finishedAt ?? queuedAt) - queuedAt);
}

/** The job object of job-api §4 as JSON text; `output` and `error` are the worker's own text. The notes are extensions (B1, B8). */
export function formatJob(job: Job, notes: JobNotes = {}): string {
  const members = formatFacts(job);
  if (job.state === 'COMPLETED') members.push(`"output":${job.output ?? 'null'}`);
  else if (job.output !== null) members.push(`"output":${job.output}`);
  if (job.error !== null) members.push(`"error":${job.error}`);
  if (notes.waiting) members.push(`"waiting":${JSON.stringify({ ...notes.waiting, since: new Date(notes.waiting.since).toISOString() })}`);
  if (notes.timeline) members.push(`"timeline":${JSON.stringify(notes.timeline)}`);
  return `{${members.join(',')}}`;
}

/** The job object without `output` and `error`, as the members of its JSON text. */
export function formatFacts(job: JobFacts): string[] {
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
  return members;
}
