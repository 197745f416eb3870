import type { Job } from '../../domain/job.js';
import type { ClaimRequest, EndRequest, JobFilter, NewJob, QueueSample, SettleRequest, Store } from '../store.js';
import type { CommitQueue } from './commit.js';
import type { Database, Row } from './driver.js';
import { JOB_FACTS, readJob, readJobFacts } from './rows.js';

type QueueVerbs = Pick<
  Store,
  | 'enqueue'
  | 'claim'
  | 'extend'
  | 'setProgress'
  | 'settle'
  | 'end'
  | 'requeue'
  | 'unclaim'
  | 'purge'
  | 'getJob'
  | 'listJobs'
  | 'listOverdue'
  | 'sweep'
  | 'sampleQueue'
>;

/** Stopped workers are kept this long, so that their logs can be found. */
const WORKER_RETENTION_MS = 7 * 86_400_000;

const FINISH = `UPDATE job SET state = ?, output = ?, error = ?, finished_at = ?, retain_until = ?, lease_until = NULL`;

/** The queue verbs on SQLite: hand-written, prepared once. */
export function createQueue(db: Database, commits: CommitQueue): QueueVerbs {
  const sql = prepare(db);

  const free = (workerId: string | null, now: number) => {
    if (workerId !== null) sql.freeWorker.run(now, workerId, workerId);
  };
  const count = (job: Job) => {
    if (job.state === 'COMPLETED') sql.countCompleted.run(job.endpointId);
    else if (job.state !== 'CANCELLED') sql.countFailed.run(job.endpointId);
  };
  const finished = (row: Row | undefined, now: number): Job | undefined => {
    if (!row) return undefined;
    const job = readJob(row);
    count(job);
    free(job.workerId, now);
    return job;
  };

  return {
    enqueue: (job: NewJob, now) =>
      commits.write(
        () => {
          const { id, endpointId, input, extras, isSync, isLowPriority, executionTimeoutMs, expiresAt } = job;
          sql.enqueue.run(id, endpointId, input, extras, Number(isSync), Number(isLowPriority), executionTimeoutMs, expiresAt, now);
          return { ...job, ...FRESH, submittedAt: now };
        },
        { isDurable: true, step: 'submit' },
      ),

    // An idle worker looks often: without a queued job there is nothing to write.
    claim: async (request: ClaimRequest) => {
      if (!request.isAnnounced && !sql.hasQueued.get(request.endpointId)) return [];
      return commits.write(
        () => {
          const { endpointId, workerId, release, leaseUntil, now } = request;
          const jobs: Job[] = [];
          if (!sql.canClaim.get(workerId)) return jobs;
          while (jobs.length < request.limit) {
            const row = sql.claim.get(now, workerId, release, leaseUntil, endpointId, release, workerId);
            if (!row) break;
            sql.addAttempt.run(String(row['id']), workerId);
            jobs.push(readJob(row));
          }
          if (jobs.length > 0) sql.occupyWorker.run(now, now, workerId);
          return jobs;
        },
        { step: 'claim' },
      );
    },

    extend: (workerId, { confirmed, leaseUntil }, now) =>
      commits.write(() => {
        sql.seeWorker.run(now, workerId);
        sql.extend.run(leaseUntil, workerId);
        for (const id of confirmed) sql.confirm.run(id, workerId);
      }),

    setProgress: ({ jobId, workerId, output }) =>
      commits.write(() => {
        sql.progress.run(output, jobId, workerId);
      }),

    settle: (request: SettleRequest) =>
      commits.write(
        () => {
          const { outcome, now, retainUntil, jobId, workerId, endpointId } = request;
          const row = sql.settle.get(outcome.state, outcome.output, outcome.error, now, retainUntil, jobId, workerId, endpointId);
          return finished(row, now);
        },
        { isDurable: true, step: 'settle' },
      ),

    end: (request: EndRequest) =>
      commits.write(
        () => {
          const { outcome, now, retainUntil, jobId, from } = request;
          const row = sql.end.get(outcome.state, outcome.output, outcome.error, now, retainUntil, jobId, JSON.stringify(from));
          return finished(row, now);
        },
        { isDurable: true },
      ),

    requeue: (jobId, workerId, now) =>
      commits.write(
        () => {
          const row = sql.requeue.get(jobId, workerId);
          if (!row) return undefined;
          const job = readJob(row);
          sql.countRetried.run(job.endpointId);
          free(workerId, now);
          return job;
        },
        { isDurable: true },
      ),

    unclaim: (jobId, workerId, now) =>
      commits.write(() => {
        const row = sql.unclaim.get(jobId, workerId);
        if (!row) return undefined;
        sql.dropAttempt.run(jobId, workerId);
        free(workerId, now);
        return readJob(row);
      }),

    purge: (endpointId, retainUntil, now) =>
      commits.write(() => sql.purge.all(now, retainUntil, endpointId).map(({ id }) => String(id)), { isDurable: true }),

    getJob: async (id) => {
      const row = sql.getJob.get(id);
      return row && readJob(row);
    },

    listJobs: async ({ endpointId, states, workerId, limit }: JobFilter) =>
      sql.listJobs.all(endpointId, states ? JSON.stringify(states) : null, workerId ?? null, limit).map(readJobFacts),

    listOverdue: async (now, limit) => sql.overdue.all(now, now, now, limit).map(readJobFacts),

    sweep: (now) =>
      commits.write(() => {
        sql.sweepWorkers.run(now - WORKER_RETENTION_MS);
        return Number(sql.sweepJobs.run(now).changes);
      }),

    sampleQueue: async (endpointId): Promise<QueueSample> => {
      const row = sql.sample.get(endpointId, endpointId, endpointId, endpointId, endpointId) ?? {};
      return {
        completed: Number(row['completed'] ?? 0),
        failed: Number(row['failed'] ?? 0),
        retried: Number(row['retried'] ?? 0),
        inQueue: Number(row['in_queue'] ?? 0),
        inProgress: Number(row['in_progress'] ?? 0),
        queuedNormal: Number(row['queued_normal'] ?? 0),
        oldestQueuedAt: row['oldest'] == null ? null : Number(row['oldest']),
      };
    },
  };
}

function prepare(db: Database) {
  return {
    enqueue:
      db.prepare(`INSERT INTO job (id, endpoint_id, state, input, extras, is_sync, is_low_priority, execution_timeout_ms, expires_at, submitted_at)
      VALUES (?, ?, 'IN_QUEUE', ?, ?, ?, ?, ?, ?, ?)`),
    hasQueued: db.prepare(`SELECT 1 FROM job WHERE endpoint_id = ? AND state = 'IN_QUEUE' LIMIT 1`),
    canClaim: db.prepare(`SELECT 1 FROM worker WHERE id = ? AND state IN ('INITIALIZING', 'IDLE', 'RUNNING')`),
    // One job a statement with `seq = (SELECT … LIMIT 1)`: measured faster than IN (…). The worker never gets a job twice.
    claim:
      db.prepare(`UPDATE job SET state = 'IN_PROGRESS', attempt = attempt + 1, claimed_at = ?, worker_id = ?, release = ?, lease_until = ?, is_confirmed = 0, output = NULL
      WHERE seq = (SELECT seq FROM job AS j WHERE endpoint_id = ? AND state = 'IN_QUEUE' AND (pinned_release IS NULL OR pinned_release = ?)
        AND NOT EXISTS (SELECT 1 FROM attempt WHERE job_id = j.id AND worker_id = ?)
        ORDER BY is_low_priority, seq LIMIT 1) RETURNING *`),
    addAttempt: db.prepare('INSERT INTO attempt (job_id, worker_id) VALUES (?, ?)'),
    occupyWorker: db.prepare(
      `UPDATE worker SET state = 'RUNNING', idle_since = NULL, last_seen_at = ?, ready_at = coalesce(ready_at, ?) WHERE id = ?`,
    ),
    freeWorker: db.prepare(`UPDATE worker SET state = 'IDLE', idle_since = ? WHERE id = ? AND state = 'RUNNING'
      AND NOT EXISTS (SELECT 1 FROM job WHERE worker_id = ? AND state = 'IN_PROGRESS')`),
    seeWorker: db.prepare('UPDATE worker SET last_seen_at = ? WHERE id = ?'),
    extend: db.prepare(`UPDATE job SET lease_until = ? WHERE worker_id = ? AND state = 'IN_PROGRESS'`),
    confirm: db.prepare(`UPDATE job SET is_confirmed = 1 WHERE id = ? AND worker_id = ? AND state = 'IN_PROGRESS'`),
    progress: db.prepare(`UPDATE job SET output = ?, is_confirmed = 1 WHERE id = ? AND worker_id = ? AND state = 'IN_PROGRESS'`),
    settle: db.prepare(`${FINISH} WHERE id = ? AND worker_id = ? AND endpoint_id = ? AND state = 'IN_PROGRESS' RETURNING *`),
    end: db.prepare(
      `${FINISH} WHERE id = ? AND state IN ('IN_QUEUE', 'IN_PROGRESS') AND state IN (SELECT value FROM json_each(?)) RETURNING *`,
    ),
    requeue: db.prepare(
      `UPDATE job SET state = 'IN_QUEUE', lease_until = NULL, output = NULL WHERE id = ? AND worker_id = ? AND state = 'IN_PROGRESS' RETURNING *`,
    ),
    unclaim: db.prepare(
      `UPDATE job SET state = 'IN_QUEUE', lease_until = NULL, attempt = attempt - 1 WHERE id = ? AND worker_id = ? AND state = 'IN_PROGRESS' RETURNING *`,
    ),
    dropAttempt: db.prepare('DELETE FROM attempt WHERE job_id = ? AND worker_id = ?'),
    purge: db.prepare(
      `UPDATE job SET state = 'CANCELLED', finished_at = ?, retain_until = ? WHERE endpoint_id = ? AND state = 'IN_QUEUE' RETURNING id`,
    ),
    countCompleted: db.prepare('UPDATE endpoint SET completed = completed + 1 WHERE id = ?'),
    countFailed: db.prepare('UPDATE endpoint SET failed = failed + 1 WHERE id = ?'),
    countRetried: db.prepare('UPDATE endpoint SET retried = retried + 1 WHERE id = ?'),
    getJob: db.prepare('SELECT * FROM job WHERE id = ?'),
    listJobs: db.prepare(`SELECT ${JOB_FACTS} FROM job WHERE endpoint_id = ?1 AND (?2 IS NULL OR state IN (SELECT value FROM json_each(?2)))
      AND (?3 IS NULL OR worker_id = ?3) ORDER BY seq DESC LIMIT ?4`),
    overdue:
      db.prepare(`SELECT ${JOB_FACTS} FROM job WHERE state = 'IN_PROGRESS' AND (lease_until < ? OR (execution_timeout_ms > 0 AND claimed_at + execution_timeout_ms < ?))
      UNION SELECT ${JOB_FACTS} FROM job WHERE state IN ('IN_QUEUE', 'IN_PROGRESS') AND expires_at < ? LIMIT ?`),
    sweepJobs: db.prepare('DELETE FROM job WHERE retain_until < ?'),
    sweepWorkers: db.prepare(`DELETE FROM worker WHERE state = 'STOPPED' AND stopped_at < ?`),
    sample: db.prepare(`SELECT completed, failed, retried,
      (SELECT count(*) FROM job WHERE endpoint_id = ? AND state = 'IN_QUEUE') AS in_queue,
      (SELECT count(*) FROM job WHERE endpoint_id = ? AND state = 'IN_QUEUE' AND is_low_priority = 0) AS queued_normal,
      (SELECT submitted_at FROM job WHERE endpoint_id = ? AND state = 'IN_QUEUE' AND is_low_priority = 0 ORDER BY seq LIMIT 1) AS oldest,
      (SELECT count(*) FROM job WHERE endpoint_id = ? AND state = 'IN_PROGRESS') AS in_progress
      FROM endpoint WHERE id = ?`),
  };
}

/** What a job is that was just submitted; reading it back would cost as much as writing it. */
const FRESH = {
  state: 'IN_QUEUE',
  claimedAt: null,
  finishedAt: null,
  workerId: null,
  release: null,
  attempt: 0,
  isConfirmed: false,
  leaseUntil: null,
  output: null,
  error: null,
  retainUntil: null,
} as const;
