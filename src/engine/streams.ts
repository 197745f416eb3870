import type { Ending } from '../base/ending.js';
import { WherryError } from '../base/errors.js';
import { isTerminal, JOB_LIMITS } from '../domain/job.js';
import type { ChunkPart, StreamMark } from '../domain/stream.js';
import type { Core } from './core.js';
import type { ChunkPost, JobName, StreamPart, StreamRead } from './engine.js';
import { endJob, requireJob } from './jobs.js';
import { stopWork } from './stops.js';

/**
 * Keeps a chunk that a worker posted (worker-protocol §7). Late, foreign and repeated posts are ignored, so the worker goes on. A job
 * whose stream grows above the limit fails and is stopped.
 */
export async function addChunk(core: Core, { workerId, jobId, output, post }: ChunkPost): Promise<void> {
  const kept = await core.store.report({ jobId, workerId, chunks: splitChunk(output), ...(post !== undefined && { post }) });
  if (!kept) {
    core.log.info({ workerId, jobId }, 'a late, foreign or repeated chunk was ignored');
    return;
  }
  core.missedPings.delete(jobId);
  core.streamWaiters.notify(jobId, true);
  if (kept.streamBytes <= JOB_LIMITS.streamBytes) return;
  const job = await core.store.getJob(jobId);
  const ended =
    job &&
    (await endJob(core, job, { state: 'FAILED', error: `the stream is larger than ${JOB_LIMITS.streamBytes} bytes` }, ['IN_PROGRESS']));
  if (ended) stopWork(core, ended, 'the stream of its job is too large');
}

/** A long text becomes several chunks (job-api §14.5); other values cannot be cut. Cuts between characters, never inside one. */
function splitChunk(output: string): string[] {
  if (output.length * 3 <= JOB_LIMITS.chunkBytes || Buffer.byteLength(output) <= JOB_LIMITS.chunkBytes) return [output];
  const value: unknown = JSON.parse(output);
  if (typeof value !== 'string') return [output];
  const parts: string[] = [];
  // A JavaScript character is at most six bytes of JSON (an escape).
  const size = Math.floor(JOB_LIMITS.chunkBytes / 6);
  for (let from = 0; from < value.length; ) {
    const isInsidePair = /[\uD800-\uDBFF]/.test(value[from + size - 1] ?? '');
    const to = from + (isInsidePair ? size - 1 : size);
    parts.push(JSON.stringify(value.slice(from, to)));
    from = to;
  }
  return parts;
}

/**
 * The chunks that no reader got yet, or those after what this one has; held until there is one, the job ended, or the time is
 * over. An ended job comes with all that remain, because one client stops at the first terminal state (job-api §8.2). Throws JOB_UNKNOWN.
 */
export async function readStream(core: Core, { after, ...name }: StreamRead, { timeoutMs, signal }: { timeoutMs: number; signal: Ending }) {
  const end = core.clock.now() + timeoutMs;
  for (;;) {
    const changed = core.streamWaiters.begin(name.jobId, end - core.clock.now(), signal);
    try {
      // The job is read first: when it had ended, its chunks were all there.
      const job = await requireJob(core, name.endpointId, name.jobId);
      const part: StreamPart = { job, ...(await core.store.readChunks({ jobId: name.jobId, after })) };
      const isOver = isTerminal(part.job.state) || core.clock.now() >= end || signal.aborted;
      if (part.chunks.length > 0 || isOver) return part;
      await changed.value;
    } finally {
      changed.cancel();
    }
  }
}

/** A follower looks again so often even when nothing was said. */
const FOLLOW_LOOK_MS = 30_000;

function restarted(jobId: string): WherryError {
  return new WherryError('JOB_RESTARTED', `job '${jobId}' began anew on another worker after a part of its stream was sent`, {
    hint: 'send the request again',
  });
}

/**
 * All chunks of a job from its first on, as they come, whoever else reads them; ends after the last one of the ended job or
 * when the signal aborts. Throws JOB_UNKNOWN, and JOB_RESTARTED when the job began anew after chunks were given out.
 */
export async function* followStream(core: Core, { endpointId, jobId }: JobName, signal: Ending): AsyncGenerator<readonly string[]> {
  let mark: StreamMark | null = null;
  while (!signal.aborted) {
    const changed = core.streamWaiters.begin(jobId, FOLLOW_LOOK_MS, signal);
    try {
      const job = await requireJob(core, endpointId, jobId);
      const { chunks, mark: reached }: ChunkPart = await core.store.readChunks({ jobId, after: mark });
      if (mark && mark.number > 0 && (job.chunks < mark.number || reached.workerId !== mark.workerId)) throw restarted(jobId);
      mark = reached;
      if (chunks.length > 0) yield chunks;
      else if (isTerminal(job.state)) return;
      else await changed.value;
    } finally {
      changed.cancel();
    }
  }
}
