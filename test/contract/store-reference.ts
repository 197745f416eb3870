import { JOB_PRIORITIES, type Job, type JobState, type Outcome } from '../../src/domain/job.js';
import { isCanaryPlace, laneOf, type Routing } from '../../src/domain/lane.js';
import type { WorkerState } from '../../src/domain/worker.js';
import type { NewJob, QueueSample } from '../../src/store/store.js';

/** A job of the reference: what the store must show of it, and who had it. */
export interface ReferenceJob {
  readonly order: number;
  readonly job: Job;
  readonly had: ReadonlySet<string>;
  readonly chunks: readonly string[];
  readonly delivered: number;
}

const CLAIMING: readonly WorkerState[] = ['INITIALIZING', 'IDLE', 'RUNNING'];

/** The queue as Store words it, in plain maps; every verb gives what the store must answer. */
export class Reference {
  readonly jobs = new Map<string, ReferenceJob>();
  readonly workers = new Map<string, WorkerState>();
  /** By worker. */
  readonly releases = new Map<string, number>();
  routing: Routing = { activeRelease: null, canary: null };
  #completed = 0;
  #failed = 0;
  #retried = 0;
  #cancelled = 0;
  #timedOut = 0;
  #order = 0;

  enqueue(job: NewJob, now: number): Job {
    const earlier = this.#byKey(job.idempotencyKey);
    if (earlier && (earlier.retainUntil === null || earlier.retainUntil > now)) return earlier;
    if (earlier) this.#change(earlier.id, { idempotencyKey: null });
    const fresh = { claimedAt: null, finishedAt: null, workerId: null, release: null, leaseUntil: null, output: null, error: null };
    const counts = { attempt: 0, chunks: 0, isConfirmed: false, retainUntil: null };
    const made: Job = { ...job, ...fresh, ...counts, state: 'IN_QUEUE', submittedAt: now, queuedAt: now };
    this.jobs.set(job.id, { order: this.#order++, job: made, had: new Set(), chunks: [], delivered: 0 });
    return made;
  }

  /** What the worker may have, the first one first. */
  claimable(workerId: string): Job[] {
    if (!CLAIMING.includes(this.workers.get(workerId) ?? 'STOPPED')) return [];
    const isPinned = ({ pinnedRelease }: Job) => (pinnedRelease === null ? 1 : 0);
    const rank = ({ order, job }: ReferenceJob) => order + JOB_PRIORITIES.indexOf(job.priority) * 1e9 + isPinned(job) * 1e10;
    return this.#queueOf(this.releases.get(workerId) ?? 0)
      .filter(({ had }) => !had.has(workerId))
      .sort((a, b) => rank(a) - rank(b))
      .map(({ job }) => job);
  }

  /** What workers of a release may have. */
  #queueOf(release: number): ReferenceJob[] {
    const { canary } = this.routing;
    const lane = laneOf({ release, isCandidate: false }, this.routing);
    const isCanary = ({ order, job }: ReferenceJob) => job.attempt === 0 && isCanaryPlace(order + 1, canary?.share ?? 0);
    return [...this.jobs.values()].filter((each) => {
      const { state, pinnedRelease } = each.job;
      if (state !== 'IN_QUEUE') return false;
      if (pinnedRelease !== null) return pinnedRelease === release;
      if (lane === 'all') return true;
      return lane === 'canary' ? isCanary(each) : lane === 'stable' && !isCanary(each);
    });
  }

  take(id: string, { workerId, leaseUntil, now }: { workerId: string; leaseUntil: number; now: number }): Job {
    const { job, had } = this.#get(id);
    const claimed = {
      workerId,
      leaseUntil,
      release: this.releases.get(workerId) ?? 0,
      claimedAt: now,
      isConfirmed: false,
      output: null,
      attempt: job.attempt + 1,
    };
    this.workers.set(workerId, 'RUNNING');
    return this.#change(id, { ...claimed, state: 'IN_PROGRESS' }, new Set([...had, workerId]));
  }

  extend(workerId: string, confirmed: readonly string[], leaseUntil: number): void {
    for (const { id } of this.heldBy(workerId)) this.#change(id, { leaseUntil, ...(confirmed.includes(id) && { isConfirmed: true }) });
  }

  progress(id: string, workerId: string, output: string): void {
    if (this.isHeld(id, workerId)) this.#change(id, { output, isConfirmed: true });
  }

  finish(id: string, outcome: Outcome, moments: { finishedAt: number; retainUntil: number }): Job {
    if (outcome.state === 'COMPLETED') this.#completed++;
    else if (outcome.state === 'CANCELLED') this.#cancelled++;
    else this.#failed++;
    if (outcome.state === 'TIMED_OUT') this.#timedOut++;
    return this.#release(id, { ...outcome, ...moments });
  }

  /** Purged jobs keep their fields; a job goes back without its progress. */
  purge(moments: { finishedAt: number; retainUntil: number }): string[] {
    const queued = [...this.jobs.values()].filter(({ job }) => job.state === 'IN_QUEUE').map(({ job }) => job.id);
    for (const id of queued) this.#change(id, { state: 'CANCELLED', ...moments });
    this.#cancelled += queued.length;
    return queued;
  }

  addChunks(id: string, workerId: string, chunks: readonly string[]): number | undefined {
    if (!this.isHeld(id, workerId)) return undefined;
    const before = this.#get(id);
    this.jobs.set(id, { ...before, chunks: [...before.chunks, ...chunks] });
    return this.#change(id, { chunks: before.chunks.length + chunks.length, isConfirmed: true }).chunks;
  }

  chunks(id: string): readonly string[] {
    return this.jobs.get(id)?.chunks ?? [];
  }

  deliver(id: string): readonly string[] {
    const before = this.jobs.get(id);
    if (!before) return [];
    this.jobs.set(id, { ...before, delivered: before.chunks.length });
    return before.chunks.slice(before.delivered);
  }

  lost(id: string): Job {
    this.#retried++;
    this.#dropChunks(id);
    return this.#release(id, { state: 'IN_QUEUE', output: null, chunks: 0 });
  }

  withdrawn(id: string): Job {
    const { job, had } = this.#get(id);
    this.#dropChunks(id);
    return this.#release(
      id,
      { state: 'IN_QUEUE', output: null, chunks: 0, isConfirmed: false, attempt: job.attempt - 1 },
      new Set([...had].filter((worker) => worker !== job.workerId)),
    );
  }

  retry(id: string, now: number): Job | undefined {
    const job = this.jobs.get(id)?.job;
    if ((job?.state !== 'FAILED' && job?.state !== 'TIMED_OUT') || (job.retainUntil ?? 0) <= now) return undefined;
    this.#dropChunks(id);
    const none = { finishedAt: null, retainUntil: null, output: null, error: null, claimedAt: null };
    return this.#change(id, { ...none, state: 'IN_QUEUE', queuedAt: now, attempt: 0, chunks: 0, isConfirmed: false });
  }

  shorten(id: string, until: number): void {
    const job = this.jobs.get(id)?.job;
    if (job && job.retainUntil !== null) this.#change(id, { retainUntil: Math.min(job.retainUntil, until) });
  }

  overdue(now: number): Job[] {
    const isLate = (job: Job) =>
      (isLive(job.state) && job.expiresAt < now) ||
      (job.state === 'IN_PROGRESS' &&
        ((job.leaseUntil ?? 0) < now || (job.executionTimeoutMs > 0 && (job.claimedAt ?? 0) + job.executionTimeoutMs < now)));
    return [...this.jobs.values()].map(({ job }) => job).filter(isLate);
  }

  sweep(now: number): number {
    const old = [...this.jobs.values()].filter(({ job }) => job.retainUntil !== null && job.retainUntil < now);
    for (const { job } of old) this.jobs.delete(job.id);
    return old.length;
  }

  isHeld(id: string, workerId: string): boolean {
    return this.heldBy(workerId).some((job) => job.id === id);
  }

  heldBy(workerId: string): Job[] {
    return this.running().filter((job) => job.workerId === workerId);
  }

  running(): Job[] {
    return [...this.jobs.values()].map(({ job }) => job).filter((job) => job.state === 'IN_PROGRESS');
  }

  /** Of the whole queue, or of what a release may have. */
  sample(release?: number): QueueSample {
    const inState = (state: JobState) => [...this.jobs.values()].filter(({ job }) => job.state === state);
    const queued = release === undefined ? inState('IN_QUEUE') : this.#queueOf(release);
    const running = inState('IN_PROGRESS').filter(({ job }) => release === undefined || job.release === release);
    const normal = queued.filter(({ job }) => job.priority !== 'low');
    const mixed = release === undefined ? queued : queued.filter(({ job }) => job.pinnedRelease === null);
    const pinned = release === undefined ? [] : queued.filter(({ job }) => job.pinnedRelease !== null);
    const firsts = ['normal', 'batch', 'low'].map((priority) => mixed.find(({ job }) => job.priority === priority));
    const heads = [...firsts, ...pinned].flatMap((first) => (first ? [first.job] : []));
    const oldest = (jobs: readonly Job[]) => (jobs.length === 0 ? null : Math.min(...jobs.map(({ queuedAt }) => queuedAt)));
    return {
      completed: this.#completed,
      failed: this.#failed,
      retried: this.#retried,
      inQueue: queued.length,
      inProgress: running.length,
      queuedNormal: normal.length,
      oldestQueuedAt: oldest(heads.filter(({ priority }) => priority !== 'low')),
      oldestAt: oldest(heads),
      cancelled: this.#cancelled,
      timedOut: this.#timedOut,
    };
  }

  #byKey(key: string | null): Job | undefined {
    return key === null ? undefined : [...this.jobs.values()].find(({ job }) => job.idempotencyKey === key)?.job;
  }

  #dropChunks(id: string): void {
    this.jobs.set(id, { ...this.#get(id), chunks: [], delivered: 0 });
  }

  #get(id: string): ReferenceJob {
    const found = this.jobs.get(id);
    if (!found) throw new Error(`the reference has no job ${id}`);
    return found;
  }

  #change(id: string, change: Partial<Job>, had?: ReadonlySet<string>): Job {
    const before = this.#get(id);
    const job = { ...before.job, ...change };
    this.jobs.set(id, { ...before, job, ...(had && { had }) });
    return job;
  }

  /** The job is in nobody's hands any more; its worker is idle when it has no other. */
  #release(id: string, change: Partial<Job>, had?: ReadonlySet<string>): Job {
    const job = this.#change(id, { ...change, leaseUntil: null }, had);
    const { workerId } = job;
    if (workerId !== null && this.workers.get(workerId) === 'RUNNING' && this.heldBy(workerId).length === 0) {
      this.workers.set(workerId, 'IDLE');
    }
    return job;
  }
}

export function isLive(state: JobState): boolean {
  return state === 'IN_QUEUE' || state === 'IN_PROGRESS';
}
