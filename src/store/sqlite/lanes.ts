import { JOB_PRIORITIES, type JobFacts, type JobPriority } from '../../domain/job.js';
import { type Lane, laneOf, type Routing, sqlOfCanaryPlace } from '../../domain/lane.js';
import type { ClaimRequest, JobFilter, QueueSample } from '../store.js';
import type { CommitQueue } from './commit.js';
import type { Database, Row } from './driver.js';
import { JOB_FACTS, readJobFacts } from './rows.js';

/** Who claims: `isCandidate` as its row says. */
export type Claimant = Pick<ClaimRequest, 'endpointId' | 'workerId' | 'release'> & { readonly isCandidate: boolean };

type LaneSample = Pick<QueueSample, 'inQueue' | 'inProgress' | 'queuedNormal' | 'oldestQueuedAt' | 'oldestAt'>;

/** Finds jobs for workers that do not take from the whole queue. */
export interface Lanes {
  /** The releases of an endpoint, or of all, changed. */
  forget(endpointId?: string): void;
  /** A job came (back) into the queue. */
  noteQueued(job: { readonly endpointId: string; readonly seq: number; readonly priority: JobPriority; readonly isPinned: boolean }): void;
  /** Jobs changed their priority. */
  noteReordered(endpointId: string): void;
  /** The next job of a worker; `first` when it is the first of the queue that it did not have. */
  findNext(claimant: Claimant): number | 'first' | undefined;
  listClaimable(filter: JobFilter & Required<Pick<JobFilter, 'claimableBy'>>): readonly JobFacts[];
  /** What waits and runs of a release. */
  sample(endpointId: string, release: number): LaneSample;
}

type QueueLane = Exclude<Lane, 'pinned'>;
const QUEUE_LANES = ['all', 'stable', 'canary'] as const satisfies readonly QueueLane[];
const PRIORITIES = JOB_PRIORITIES.map((_, rank) => rank);
const LOW = JOB_PRIORITIES.indexOf('low');
/** So many jobs are counted; more would not change how many workers are wanted. */
const COUNTED = 2_000;

/**
 * What is known of an endpoint: it is asked for with every claim. No read can come between a change and its commit, and what is undone
 * is forgotten.
 */
interface Known {
  readonly routing: Routing;
  hasPinned: boolean;
  /**
   * By lane and priority a `seq` below which no unpinned job of the lane waits, so that a lane whose jobs are behind thousands of the
   * other one is not searched from the beginning each time.
   */
  readonly begins: Readonly<Record<QueueLane, number[]>>;
}

export function createLanes(db: Database, commits: CommitQueue): Lanes {
  const sql = prepare(db);
  const known = new Map<string, Known>();
  commits.onUndo(() => known.clear());

  const know = (endpointId: string): Known => {
    const found = known.get(endpointId);
    if (found) return found;
    const row = sql.routing.get(endpointId) ?? {};
    const release = numberOrNull(row, 'to_release');
    const canary = release === null ? null : { release, share: Number(row['share']) };
    const made = { routing: { activeRelease: numberOrNull(row, 'active_release'), canary }, hasPinned: true, begins: freshBegins() };
    known.set(endpointId, made);
    return made;
  };
  const hasPinned = (endpointId: string, of: Known) => {
    if (of.hasPinned) of.hasPinned = sql.hasPinned.get(endpointId) !== undefined;
    return of.hasPinned;
  };
  const shareOf = ({ routing }: Known) => routing.canary?.share ?? 0;

  /** The first job of a lane, whoever had it before. */
  const findFirst = (endpointId: string, lane: QueueLane, priority: number): Row | undefined => {
    const of = know(endpointId);
    const begin = of.begins[lane][priority] ?? 0;
    if (begin === Number.POSITIVE_INFINITY) return undefined;
    const row = sql.first[lane].get(endpointId, priority, begin, shareOf(of));
    of.begins[lane][priority] = row ? Number(row['seq']) : Number.POSITIVE_INFINITY;
    return row;
  };

  const findInLane = ({ endpointId, workerId }: Claimant, lane: QueueLane): number | undefined => {
    for (const priority of PRIORITIES) {
      const first = findFirst(endpointId, lane, priority);
      if (!first) continue;
      const row = sql.untried[lane].get(endpointId, priority, Number(first['seq']), shareOf(know(endpointId)), workerId);
      if (row) return Number(row['seq']);
    }
    return undefined;
  };

  return {
    forget: (endpointId) => {
      if (endpointId === undefined) known.clear();
      else known.delete(endpointId);
    },
    noteQueued: ({ endpointId, seq, priority, isPinned }) => {
      const of = known.get(endpointId);
      if (!of) return;
      if (isPinned) of.hasPinned = true;
      const rank = JOB_PRIORITIES.indexOf(priority);
      for (const lane of QUEUE_LANES) of.begins[lane][rank] = Math.min(of.begins[lane][rank] ?? 0, seq);
    },
    noteReordered: (endpointId) => {
      const of = known.get(endpointId);
      if (of) Object.assign(of.begins, freshBegins());
    },
    findNext: (claimant) => {
      const { endpointId, workerId, release } = claimant;
      const of = know(endpointId);
      const lane = laneOf(claimant, of.routing);
      const isAny = hasPinned(endpointId, of);
      if (lane === 'all' && !isAny) return 'first';
      const pinned = isAny ? sql.pinned.get(endpointId, release, workerId) : undefined;
      if (pinned) return Number(pinned['seq']);
      return lane === 'pinned' ? undefined : findInLane(claimant, lane);
    },
    listClaimable: ({ endpointId, claimableBy, limit }) => {
      const of = know(endpointId);
      const { id, release } = claimableBy;
      return sql.claimable[laneOf(claimableBy, of.routing)].all(endpointId, shareOf(of), release, id, limit).map(readJobFacts);
    },
    sample: (endpointId, release) => {
      const of = know(endpointId);
      const lane = laneOf({ release, isCandidate: false }, of.routing);
      const pinned = sql.countPinned.get(endpointId, release) ?? {};
      const inProgress = Number(sql.inProgress.get(endpointId, release)?.['count'] ?? 0);
      const firsts = lane === 'pinned' ? [] : PRIORITIES.map((priority) => findFirst(endpointId, lane, priority));
      const counted = lane === 'pinned' ? {} : (sql.count[lane].get(endpointId, shareOf(of)) ?? {});
      // The first of a lane may be behind all that is counted.
      const atLeast = (count: unknown, found: number) => (found === 0 ? 0 : Math.max(found, Number(count ?? 0)));
      const found = firsts.filter((first) => first !== undefined);
      const normal = firsts.slice(0, LOW).filter((first) => first !== undefined);
      return {
        inQueue: atLeast(counted['count'], found.length) + Number(pinned['count'] ?? 0),
        inProgress,
        queuedNormal: atLeast(counted['normal'], normal.length) + Number(pinned['normal'] ?? 0),
        oldestQueuedAt: oldestOf(normal, numberOrNull(pinned, 'queued_at')),
        oldestAt: oldestOf(found, numberOrNull(pinned, 'oldest_at')),
      };
    },
  };
}

/** Since when the oldest waits: the first of each priority, or the pinned one that is known. */
function oldestOf(firsts: readonly Row[], pinnedAt: number | null): number | null {
  const moments = [...firsts.map((first) => Number(first['queued_at'])), ...(pinnedAt === null ? [] : [pinnedAt])];
  return moments.length === 0 ? null : Math.min(...moments);
}

function freshBegins(): Record<QueueLane, number[]> {
  const zeros = () => PRIORITIES.map(() => 0);
  return { all: zeros(), stable: zeros(), canary: zeros() };
}

function numberOrNull(row: Row, column: string): number | null {
  return row[column] == null ? null : Number(row[column]);
}

const WORKER_DID_NOT_HAVE = (worker: string) => `NOT EXISTS (SELECT 1 FROM attempt WHERE job_id = j.id AND worker_id = ${worker})`;
const QUEUED = `FROM job AS j INDEXED BY job_queue WHERE endpoint_id = ?1 AND state = 'IN_QUEUE'`;
const PINNED = `FROM job AS j INDEXED BY job_pinned WHERE endpoint_id = ?1 AND state = 'IN_QUEUE'`;

/** Which unpinned jobs are a lane's: what `isCanaryPlace` says. What the index has comes first; each names the share, so that it can be bound. */
function conditions(share: string): Readonly<Record<QueueLane, string>> {
  const isPlace = sqlOfCanaryPlace('seq', share);
  return {
    all: `${share} >= 0 AND pinned_release IS NULL`,
    canary: `${isPlace} AND attempt = 0 AND pinned_release IS NULL`,
    stable: `(NOT ${isPlace} OR attempt > 0) AND pinned_release IS NULL`,
  };
}

function prepare(db: Database) {
  const byLane = (text: (condition: string) => string, share: string) => {
    const { all, stable, canary } = conditions(share);
    return { all: db.prepare(text(all)), stable: db.prepare(text(stable)), canary: db.prepare(text(canary)) };
  };
  const claimable = (condition: string) =>
    `SELECT ${JOB_FACTS} ${QUEUED} AND ((${condition}) OR pinned_release = ?3) AND ${WORKER_DID_NOT_HAVE('?4')} ORDER BY priority, seq LIMIT ?5`;
  return {
    routing: db.prepare(`SELECT active_release, to_release, share FROM endpoint
      LEFT JOIN rollout ON rollout.endpoint_id = endpoint.id AND rollout.state = 'CANARY' WHERE endpoint.id = ?`),
    hasPinned: db.prepare(`SELECT 1 ${PINNED} AND pinned_release IS NOT NULL LIMIT 1`),
    pinned: db.prepare(`SELECT seq ${PINNED} AND pinned_release = ?2 AND ${WORKER_DID_NOT_HAVE('?3')} ORDER BY priority, seq LIMIT 1`),
    countPinned: db.prepare(`SELECT count(*) AS count, total(priority < ${LOW}) AS normal,
      min(CASE WHEN priority < ${LOW} THEN queued_at END) AS queued_at, min(queued_at) AS oldest_at ${PINNED} AND pinned_release = ?2`),
    first: byLane(
      (condition) => `SELECT seq, queued_at ${QUEUED} AND priority = ?2 AND seq >= ?3 AND ${condition} ORDER BY seq LIMIT 1`,
      '?4',
    ),
    untried: byLane(
      (condition) =>
        `SELECT seq ${QUEUED} AND priority = ?2 AND seq >= ?3 AND ${condition} AND ${WORKER_DID_NOT_HAVE('?5')} ORDER BY seq LIMIT 1`,
      '?4',
    ),
    count: byLane(
      (condition) =>
        `SELECT count(*) AS count, total(priority < ${LOW}) AS normal FROM (SELECT priority, seq, attempt, pinned_release ${QUEUED}
        ORDER BY priority, seq LIMIT ${COUNTED}) WHERE ${condition}`,
      '?2',
    ),
    claimable: { ...byLane(claimable, '?2'), pinned: db.prepare(claimable('FALSE')) },
    inProgress: db.prepare(
      `SELECT count(*) AS count FROM job INDEXED BY job_live WHERE endpoint_id = ? AND state = 'IN_PROGRESS' AND release = ?`,
    ),
  };
}
