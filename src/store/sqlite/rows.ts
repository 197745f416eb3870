import type { Endpoint } from '../../domain/endpoint.js';
import { JOB_PRIORITIES, type Job, type JobFacts, type JobState } from '../../domain/job.js';
import type { Release, Rollout, RolloutState } from '../../domain/release.js';
import type { Worker, WorkerState } from '../../domain/worker.js';
import type { Row } from './driver.js';

const text = (row: Row, column: string) => row[column] as string;
const textOrNull = (row: Row, column: string) => (row[column] ?? null) as string | null;
const int = (row: Row, column: string) => row[column] as number;
const intOrNull = (row: Row, column: string) => (row[column] ?? null) as number | null;

/** A row of `job` as the domain's Job. What is spread comes last, here and on every hot path: keys after it cost V8 a hidden class of each object. */
export function readJob(row: Row): Job {
  return {
    input: text(row, 'input'),
    extras: textOrNull(row, 'extras'),
    output: textOrNull(row, 'output'),
    error: textOrNull(row, 'error'),
    ...readJobFacts(row),
  };
}

/** What `readJobFacts` reads. */
export const JOB_FACTS = `id, endpoint_id, state, is_sync, priority, webhook, batch_id, idempotency_key, execution_timeout_ms, expires_at, pinned_release, submitted_at, queued_at, claimed_at,
  finished_at, worker_id, release, attempt, is_confirmed, lease_until, chunks, retain_until`;

/** A row of `job` without its texts. */
export function readJobFacts(row: Row): JobFacts {
  return {
    id: text(row, 'id'),
    endpointId: text(row, 'endpoint_id'),
    state: text(row, 'state') as JobState,
    isSync: row['is_sync'] === 1,
    priority: JOB_PRIORITIES[int(row, 'priority')] ?? 'normal',
    webhook: textOrNull(row, 'webhook'),
    batchId: textOrNull(row, 'batch_id'),
    idempotencyKey: textOrNull(row, 'idempotency_key'),
    executionTimeoutMs: int(row, 'execution_timeout_ms'),
    expiresAt: int(row, 'expires_at'),
    pinnedRelease: intOrNull(row, 'pinned_release'),
    submittedAt: int(row, 'submitted_at'),
    queuedAt: int(row, 'queued_at'),
    claimedAt: intOrNull(row, 'claimed_at'),
    finishedAt: intOrNull(row, 'finished_at'),
    workerId: textOrNull(row, 'worker_id'),
    release: intOrNull(row, 'release'),
    attempt: int(row, 'attempt'),
    isConfirmed: row['is_confirmed'] === 1,
    leaseUntil: intOrNull(row, 'lease_until'),
    chunks: int(row, 'chunks'),
    retainUntil: intOrNull(row, 'retain_until'),
  };
}

/** A row of `worker`. */
export function readWorker(row: Row): Worker {
  return {
    id: text(row, 'id'),
    endpointId: text(row, 'endpoint_id'),
    release: int(row, 'release'),
    state: text(row, 'state') as WorkerState,
    tokenHash: text(row, 'token_hash'),
    runtime: text(row, 'runtime'),
    handle: textOrNull(row, 'handle'),
    gpus: row['gpus'] == null ? null : JSON.parse(text(row, 'gpus')),
    isCandidate: row['is_candidate'] === 1,
    createdAt: int(row, 'created_at'),
    admittedAt: intOrNull(row, 'admitted_at'),
    start: row['start'] == null ? null : JSON.parse(text(row, 'start')),
    readyAt: intOrNull(row, 'ready_at'),
    lastSeenAt: intOrNull(row, 'last_seen_at'),
    idleSince: intOrNull(row, 'idle_since'),
    frozenAt: intOrNull(row, 'frozen_at'),
    memoryBytes: intOrNull(row, 'memory_bytes'),
    thaws: textOrNull(row, 'thaws'),
    stoppedAt: intOrNull(row, 'stopped_at'),
    exitCode: intOrNull(row, 'exit_code'),
    reason: textOrNull(row, 'reason'),
  };
}

/** A row of `endpoint`. */
export function readEndpoint(row: Row): Endpoint {
  return {
    id: text(row, 'id'),
    name: text(row, 'name'),
    type: text(row, 'type') as Endpoint['type'],
    settings: JSON.parse(text(row, 'settings')),
    activeRelease: intOrNull(row, 'active_release'),
    pausedReason: textOrNull(row, 'paused_reason'),
    createdAt: int(row, 'created_at'),
    labels: JSON.parse(text(row, 'labels')),
    expiresAt: intOrNull(row, 'expires_at'),
  };
}

/** A row of `release`. */
export function readRelease(row: Row): Release {
  return {
    endpointId: text(row, 'endpoint_id'),
    number: int(row, 'number'),
    createdAt: int(row, 'created_at'),
    author: text(row, 'author'),
    source: text(row, 'source'),
    sourceRevision: textOrNull(row, 'source_revision'),
    image: JSON.parse(text(row, 'image')),
    spec: JSON.parse(text(row, 'spec')),
  };
}

/** A row of `rollout`. */
export function readRollout(row: Row): Rollout {
  return {
    endpointId: text(row, 'endpoint_id'),
    from: intOrNull(row, 'from_release'),
    to: int(row, 'to_release'),
    share: int(row, 'share'),
    state: text(row, 'state') as RolloutState,
    reason: textOrNull(row, 'reason'),
    holdMs: intOrNull(row, 'hold_ms'),
    provedAt: intOrNull(row, 'proved_at'),
    startedAt: int(row, 'started_at'),
    endedAt: intOrNull(row, 'ended_at'),
  };
}
