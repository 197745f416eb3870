import { isTerminal, JOB_PRIORITIES, type Job } from '../../domain/job.js';
import type { ClaimRequest, EndRequest, JobFilter, NewJob, QueueSample, SettleRequest, Store } from '../store.js';
import type { CommitQueue } from './commit.js';
import { addDelivery } from './deliveries.js';
import type { Database, Row, SqlValue } from './driver.js';
import type { Claimant, Lanes } from './lanes.js';
import { createRecordWriter } from './records.js';
import { JOB_FACTS, readJob, readJobFacts } from './rows.js';

type QueueVerbs = Pick<
  Store,
  | 'enqueue'
  | 'claim'
  | 'extend'
  | 'settle'
  | 'end'
  | 'requeue'
  | 'purge'
  | 'promote'
  | 'getJob'
  | 'listJobs'
  | 'listOverdue'
  | 'shortenRetention'
  | 'sweep'
  | 'removeJobs'
  | 'sampleQueue'
>;

/** So long a tombstone says why a job is not known any more. */
const TOMBSTONE_MS = 3_600_000;
/** Stopped workers are kept this long, so that their logs can be found. */
const WORKER_RETENTION_MS = 7 * 86_400_000;

/** Chunks belong to one try of a job. */
const NO_STREAM = 'chunks = 0, chunks_delivered = 0, stream_bytes = 0, stream_posts = 0';
/** So many at once: a backlog that passes its bound together must not hold everything else up. */
const PROMOTED = 500;
const STARVED = `endpoint_id = ? AND state = 'IN_QUEUE' AND priority = ${JOB_PRIORITIES.indexOf('low')} AND queued_at <= ?`;
const CLAIM = `UPDATE job SET state = 'IN_PROGRESS', attempt = attempt + 1, claimed_at = ?, worker_id = ?, release = ?, lease_until = ?, is_confirmed = 0, output = NULL WHERE seq =`;
const ENDED = 'completed, failed, retried, cancelled, timed_out';
const COUNTS = { COMPLETED: 'countCompleted', FAILED: 'countFailed', CANCELLED: 'countCancelled', TIMED_OUT: 'countTimedOut' } as const;
const FINISH = `UPDATE job SET state = ?, output = ?, error = ?, finished_at = ?, retain_until = ?, lease_until = NULL`;

/** The queue verbs on SQLite: hand-written, prepared once. */
export function createQueue(db: Database, commits: CommitQueue, lanes: Lanes): QueueVerbs {
  const sql = prepare(db);
  const writeRecord = createRecordWriter(db);

  const free = (workerId: string | null, now: number) => {
    if (workerId !== null) sql.freeWorker.run(now, workerId, workerId);
  };
  const count = (job: Job) => {
    if (isTerminal(job.state)) sql[COUNTS[job.state]].run(job.endpointId);
  };
  const finished = (row: Row, now: number): Job => {
    const job = readJob(row);
    count(job);
    addDelivery(job, now, writeRecord);
    return job;
  };
  const claimOne = (claimant: Claimant, { leaseUntil, now }: Pick<ClaimRequest, 'leaseUntil' | 'now'>): Job | undefined => {
    const { endpointId, workerId, release } = claimant;
    const seq = lanes.findNext(claimant);
    if (seq === undefined) return undefined;
    const row =
      seq === 'first'
        ? sql.claim.get(now, workerId, release, leaseUntil, endpointId, release, workerId)
        : sql.claimAt.get(now, workerId, release, leaseUntil, seq);
    if (!row) return undefined;
    sql.addAttempt.run(String(row['id']), workerId);
    return readJob(row);
  };

  /** Undefined when the worker takes no jobs. */
  const claimantOf = ({ endpointId, workerId, release }: Omit<Claimant, 'isCandidate'>): Claimant | undefined => {
    const row = sql.canClaim.get(workerId);
    return row && { endpointId, workerId, release, isCandidate: row['is_candidate'] === 1 };
  };
  const noteQueued = (row: Row, { endpointId, priority, pinnedRelease }: Job) =>
    lanes.noteQueued({ endpointId, seq: Number(row['seq']), priority, isPinned: pinnedRelease !== null });

  /** A job past its retention gives its key back. */
  const findEarlier = (endpointId: string, key: string, now: number): Job | undefined => {
    const row = sql.byKey.get(endpointId, key);
    if (!row) return undefined;
    const job = readJob(row);
    if (job.retainUntil === null || job.retainUntil > now) return job;
    sql.dropKey.run(job.id);
    return undefined;
  };

  return {
    enqueue: (job: NewJob, now) =>
      commits.write(
        () => {
          const earlier = job.idempotencyKey === null ? undefined : findEarlier(job.endpointId, job.idempotencyKey, now);
          if (earlier) return earlier;
          const seq = Number(sql.enqueue.run(...valuesOf(job, now)).lastInsertRowid);
          lanes.noteQueued({ endpointId: job.endpointId, seq, priority: job.priority, isPinned: job.pinnedRelease !== null });
          return { submittedAt: now, queuedAt: now, ...job, ...FRESH };
        },
        { isDurable: true, step: 'submit' },
      ),

    // An idle worker looks often: without a queued job there is nothing to write.
    claim: async (request: ClaimRequest) => {
      if (!request.isAnnounced && !sql.hasQueued.get(request.endpointId)) return [];
      return commits.write(
        () => {
          const { workerId, now } = request;
          const jobs: Job[] = [];
          const claimant = claimantOf(request);
          if (!claimant) return jobs;
          while (jobs.length < request.limit) {
            const job = claimOne(claimant, request);
            if (!job) break;
            jobs.push(job);
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

    settle: (request: SettleRequest) =>
      commits.write(
        () => {
          const { outcome, now, retainUntil, jobId, workerId, endpointId } = request;
          const row = sql.settle.get(outcome.state, outcome.output, outcome.error, now, retainUntil, jobId, workerId, endpointId);
          if (!row) return undefined;
          const job = finished(row, now);
          const claimant = request.next && claimantOf({ endpointId, workerId, release: request.next.release });
          const mayClaim = request.next && claimant && !sql.holds.get(workerId);
          const next = mayClaim ? claimOne(claimant, { now, leaseUntil: request.next.leaseUntil }) : undefined;
          // One that goes on with its next job stays RUNNING.
          if (!next) free(workerId, now);
          return { job, next };
        },
        { isDurable: true, step: 'settle' },
      ),

    end: (request: EndRequest) =>
      commits.write(
        () => {
          const { outcome, now, retainUntil, jobId, from } = request;
          const row = sql.end.get(outcome.state, outcome.output, outcome.error, now, retainUntil, jobId, JSON.stringify(from));
          if (!row) return undefined;
          const job = finished(row, now);
          free(job.workerId, now);
          return job;
        },
        { isDurable: true },
      ),

    requeue: ({ jobId, workerId }, cause, now) =>
      commits.write(
        () => {
          const row = cause === 'retry' ? sql.retry.get(now, jobId, now) : sql[cause].get(jobId, workerId);
          if (!row) return undefined;
          const job = readJob(row);
          noteQueued(row, job);
          if (cause === 'lost') sql.countRetried.run(job.endpointId);
          if (cause === 'withdrawn') sql.dropAttempt.run(jobId, workerId);
          sql.dropChunks.run(jobId);
          if (cause !== 'retry') free(workerId, now);
          return job;
        },
        { isDurable: cause !== 'withdrawn' },
      ),

    purge: (endpointId, retainUntil, now) =>
      commits.write(
        () => {
          const purged = sql.purge.all(now, retainUntil, endpointId);
          sql.countPurged.run(purged.length, endpointId);
          return purged.map(({ id, webhook }) => {
            const row = webhook === null ? undefined : sql.getJob.get(String(id));
            if (row) addDelivery(readJob(row), now, writeRecord);
            return String(id);
          });
        },
        { isDurable: true },
      ),

    // Looks first: nearly always there is nothing to write.
    promote: async (endpointId, queuedUntil) =>
      sql.hasStarved.get(endpointId, queuedUntil)
        ? commits.write(() => {
            lanes.noteReordered(endpointId);
            return sql.promote.run(endpointId, queuedUntil).changes;
          })
        : 0,

    getJob: async (id) => {
      const row = sql.getJob.get(id);
      return row && readJob(row);
    },

    listJobs: async (filter: JobFilter) => {
      const { endpointId, states, workerId, batchId, claimableBy, pinnedTo, limit } = filter;
      if (claimableBy) return lanes.listClaimable({ ...filter, claimableBy });
      const wanted = states ? JSON.stringify(states) : null;
      return sql[listFor(filter)].all(endpointId, wanted, workerId ?? null, limit, batchId ?? null, pinnedTo ?? null).map(readJobFacts);
    },

    listOverdue: async (now, limit) => {
      const running = sql.overdue.all(now, now, limit);
      const seen = new Set(running.map(({ id }) => id));
      const expired = sql.expired.all(now, limit).filter(({ id }) => !seen.has(id));
      return [...running, ...expired].slice(0, limit).map(readJobFacts);
    },

    shortenRetention: (jobId, retainUntil) =>
      commits.write(() => {
        sql.shorten.run(retainUntil, jobId);
      }),

    sweep: (now, limit) =>
      commits.write(() => {
        const workers = sql.sweepWorkers.run(now - WORKER_RETENTION_MS, limit).changes;
        const tombstones = sql.sweepTombstones.run(now - TOMBSTONE_MS, limit).changes;
        const buried = sql.bury.all(now, limit);
        for (const { id } of buried) sql.dropChunks.run(String(id));
        return { buried: buried.length, isMore: [workers, tombstones, buried.length].includes(limit) };
      }),

    removeJobs: (endpointId, limit) => commits.write(() => sql.removeJobs.run(endpointId, limit).changes),

    sampleQueue: async (endpointId, release): Promise<QueueSample> => {
      const isWhole = release === undefined;
      const row = (isWhole ? sql.sample : sql.ended).get(endpointId) ?? {};
      const ended = {
        completed: Number(row['completed'] ?? 0),
        failed: Number(row['failed'] ?? 0),
        retried: Number(row['retried'] ?? 0),
        cancelled: Number(row['cancelled'] ?? 0),
        timedOut: Number(row['timed_out'] ?? 0),
      };
      if (!isWhole) return { ...lanes.sample(endpointId, release), ...ended };
      const oldest = [row['oldest'], row['oldest_low']].flatMap((at) => (at == null ? [] : Number(at)));
      return {
        inQueue: Number(row['in_queue'] ?? 0),
        inProgress: Number(row['in_progress'] ?? 0),
        queuedNormal: Number(row['queued_normal'] ?? 0),
        oldestQueuedAt: row['oldest'] == null ? null : Number(row['oldest']),
        oldestAt: oldest.length === 0 ? null : Math.min(...oldest),
        ...ended,
      };
    },
  };
}

/** The list whose index fits the filter. Others, such as one by state, walk back through the endpoint's jobs until they have enough. */
function listFor({ batchId, workerId, pinnedTo, states }: JobFilter): 'listHeld' | 'listBatch' | 'listPinned' | 'listJobs' {
  if (pinnedTo !== undefined && states?.length === 1 && states[0] === 'IN_QUEUE') return 'listPinned';
  if (workerId !== undefined && states?.length === 1 && states[0] === 'IN_PROGRESS') return 'listHeld';
  return batchId === undefined ? 'listJobs' : 'listBatch';
}

/** Newest first; `condition` is what the index wants to see written out. */
const listBy = (index: string, condition = 'TRUE') =>
  `SELECT ${JOB_FACTS} FROM job INDEXED BY ${index} WHERE endpoint_id = ?1 AND is_tombstone = 0 AND ${condition} AND (?2 IS NULL OR state IN (SELECT value FROM json_each(?2)))
  AND (?3 IS NULL OR worker_id = ?3) AND (?5 IS NULL OR batch_id = ?5)
  AND (?6 IS NULL OR pinned_release = ?6) ORDER BY seq DESC LIMIT ?4`;

/** The first in line of a priority; the limit inside keeps it one step in the index. */
const oldest = (priority: number) =>
  `SELECT at FROM (SELECT queued_at AS at FROM job WHERE endpoint_id = ?1 AND state = 'IN_QUEUE' AND priority = ${priority} ORDER BY seq LIMIT 1)`;

function prepare(db: Database) {
  return {
    enqueue:
      db.prepare(`INSERT INTO job (id, endpoint_id, state, input, extras, is_sync, priority, webhook, batch_id, idempotency_key, execution_timeout_ms, expires_at, submitted_at, queued_at,
      pinned_release) VALUES (?, ?, 'IN_QUEUE', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`),
    dropKey: db.prepare('UPDATE job SET idempotency_key = NULL WHERE id = ?'),
    byKey: db.prepare('SELECT * FROM job WHERE endpoint_id = ? AND idempotency_key = ?'),
    hasQueued: db.prepare(`SELECT 1 FROM job WHERE endpoint_id = ? AND state = 'IN_QUEUE' LIMIT 1`),
    canClaim: db.prepare(`SELECT is_candidate FROM worker WHERE id = ? AND state IN ('INITIALIZING', 'IDLE', 'RUNNING')`),
    // One job a statement with `seq = (SELECT … LIMIT 1)`: measured faster than IN (…). The worker never gets a job twice.
    claim:
      db.prepare(`${CLAIM} (SELECT seq FROM job AS j WHERE endpoint_id = ? AND state = 'IN_QUEUE' AND (pinned_release IS NULL OR pinned_release = ?)
        AND NOT EXISTS (SELECT 1 FROM attempt WHERE job_id = j.id AND worker_id = ?)
        ORDER BY priority, seq LIMIT 1) RETURNING *`),
    claimAt: db.prepare(`${CLAIM} ? RETURNING *`),
    addAttempt: db.prepare('INSERT INTO attempt (job_id, worker_id) VALUES (?, ?)'),
    occupyWorker: db.prepare(
      `UPDATE worker SET state = 'RUNNING', idle_since = NULL, last_seen_at = ?, ready_at = coalesce(ready_at, ?) WHERE id = ?`,
    ),
    freeWorker: db.prepare(`UPDATE worker SET state = 'IDLE', idle_since = ? WHERE id = ? AND state = 'RUNNING'
      AND NOT EXISTS (SELECT 1 FROM job WHERE worker_id = ? AND state = 'IN_PROGRESS')`),
    holds: db.prepare(`SELECT 1 FROM job INDEXED BY job_live WHERE worker_id = ? AND state = 'IN_PROGRESS' LIMIT 1`),
    seeWorker: db.prepare('UPDATE worker SET last_seen_at = ? WHERE id = ?'),
    extend: db.prepare(`UPDATE job SET lease_until = ? WHERE worker_id = ? AND state = 'IN_PROGRESS'`),
    confirm: db.prepare(`UPDATE job SET is_confirmed = 1 WHERE id = ? AND worker_id = ? AND state = 'IN_PROGRESS'`),
    settle: db.prepare(`${FINISH} WHERE id = ? AND worker_id = ? AND endpoint_id = ? AND state = 'IN_PROGRESS' RETURNING *`),
    end: db.prepare(
      `${FINISH} WHERE id = ? AND state IN ('IN_QUEUE', 'IN_PROGRESS') AND state IN (SELECT value FROM json_each(?)) RETURNING *`,
    ),
    lost: db.prepare(
      `UPDATE job SET state = 'IN_QUEUE', lease_until = NULL, output = NULL, ${NO_STREAM} WHERE id = ? AND worker_id = ? AND state = 'IN_PROGRESS' RETURNING *`,
    ),
    retry:
      db.prepare(`UPDATE job SET state = 'IN_QUEUE', queued_at = ?, finished_at = NULL, retain_until = NULL, output = NULL, error = NULL,
      attempt = 0, is_confirmed = 0, claimed_at = NULL, ${NO_STREAM} WHERE id = ? AND state IN ('FAILED', 'TIMED_OUT') AND retain_until > ? RETURNING *`),
    withdrawn: db.prepare(
      `UPDATE job SET state = 'IN_QUEUE', lease_until = NULL, output = NULL, is_confirmed = 0, attempt = attempt - 1, ${NO_STREAM} WHERE id = ? AND worker_id = ? AND state = 'IN_PROGRESS' RETURNING *`,
    ),
    dropAttempt: db.prepare('DELETE FROM attempt WHERE job_id = ? AND worker_id = ?'),
    purge: db.prepare(
      `UPDATE job SET state = 'CANCELLED', finished_at = ?, retain_until = ? WHERE endpoint_id = ? AND state = 'IN_QUEUE' RETURNING id, webhook`,
    ),
    hasStarved: db.prepare(`SELECT 1 FROM job INDEXED BY job_low WHERE ${STARVED} LIMIT 1`),
    promote: db.prepare(
      `UPDATE job SET priority = ${JOB_PRIORITIES.indexOf('normal')} WHERE seq IN (SELECT seq FROM job INDEXED BY job_low WHERE ${STARVED} LIMIT ${PROMOTED})`,
    ),
    countCompleted: db.prepare('UPDATE endpoint SET completed = completed + 1 WHERE id = ?'),
    countFailed: db.prepare('UPDATE endpoint SET failed = failed + 1 WHERE id = ?'),
    countTimedOut: db.prepare('UPDATE endpoint SET failed = failed + 1, timed_out = timed_out + 1 WHERE id = ?'),
    countCancelled: db.prepare('UPDATE endpoint SET cancelled = cancelled + 1 WHERE id = ?'),
    countPurged: db.prepare('UPDATE endpoint SET cancelled = cancelled + ? WHERE id = ?'),
    countRetried: db.prepare('UPDATE endpoint SET retried = retried + 1 WHERE id = ?'),
    getJob: db.prepare('SELECT * FROM job WHERE id = ?'),
    listJobs: db.prepare(listBy('job_endpoint')),
    listBatch: db.prepare(listBy('job_batch', 'batch_id = ?5')),
    listPinned: db.prepare(listBy('job_pinned', "state = 'IN_QUEUE' AND pinned_release = ?6")),
    listHeld: db.prepare(listBy('job_live', "state = 'IN_PROGRESS' AND worker_id = ?3")),
    overdue: db.prepare(
      `SELECT ${JOB_FACTS} FROM job INDEXED BY job_live WHERE state = 'IN_PROGRESS' AND (lease_until < ? OR (execution_timeout_ms > 0 AND claimed_at + execution_timeout_ms < ?)) LIMIT ?`,
    ),
    expired: db.prepare(
      `SELECT ${JOB_FACTS} FROM job INDEXED BY job_expiry WHERE state IN ('IN_QUEUE', 'IN_PROGRESS') AND expires_at < ? LIMIT ?`,
    ),
    shorten: db.prepare('UPDATE job SET retain_until = min(retain_until, ?) WHERE id = ? AND retain_until IS NOT NULL'),
    bury: db.prepare(`UPDATE job SET is_tombstone = 1, input = 'null', extras = NULL, output = NULL, error = NULL, webhook = NULL, idempotency_key = NULL, ${NO_STREAM}
      WHERE seq IN (SELECT seq FROM job INDEXED BY job_retention WHERE retain_until < ? AND retain_until IS NOT NULL AND is_tombstone = 0 LIMIT ?) RETURNING id`),
    dropChunks: db.prepare('DELETE FROM chunk WHERE job_id = ?'),
    sweepTombstones: db.prepare(
      'DELETE FROM job WHERE seq IN (SELECT seq FROM job INDEXED BY job_tombstone WHERE retain_until < ? AND is_tombstone = 1 LIMIT ?)',
    ),
    sweepWorkers: db.prepare(`DELETE FROM worker WHERE id IN (SELECT id FROM worker WHERE state = 'STOPPED' AND stopped_at < ? LIMIT ?)`),
    removeJobs: db.prepare('DELETE FROM job WHERE seq IN (SELECT seq FROM job WHERE endpoint_id = ? LIMIT ?)'),
    ended: db.prepare(`SELECT ${ENDED} FROM endpoint WHERE id = ?`),
    sample: db.prepare(`SELECT ${ENDED},
      (SELECT count(*) FROM job WHERE endpoint_id = ?1 AND state = 'IN_QUEUE') AS in_queue,
      (SELECT count(*) FROM job WHERE endpoint_id = ?1 AND state = 'IN_QUEUE' AND priority < 2) AS queued_normal,
      (SELECT min(at) FROM (${oldest(0)} UNION ALL ${oldest(1)})) AS oldest, (${oldest(2)}) AS oldest_low,
      (SELECT count(*) FROM job INDEXED BY job_live WHERE endpoint_id = ?1 AND state = 'IN_PROGRESS') AS in_progress
      FROM endpoint WHERE id = ?1`),
  };
}

function valuesOf(job: NewJob, now: number): SqlValue[] {
  const {
    id,
    endpointId,
    input,
    extras,
    isSync,
    priority,
    webhook,
    batchId,
    idempotencyKey,
    executionTimeoutMs,
    expiresAt,
    pinnedRelease,
  } = job;
  const service = [Number(isSync), JOB_PRIORITIES.indexOf(priority), webhook, batchId, idempotencyKey];
  return [id, endpointId, input, extras, ...service, executionTimeoutMs, expiresAt, now, now, pinnedRelease];
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
  chunks: 0,
  leaseUntil: null,
  output: null,
  error: null,
  retainUntil: null,
} as const;
