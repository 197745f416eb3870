import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from '../../src/domain/endpoint.js';
import { isTerminal, JOB_EDGES, type Job, type JobFacts, type Outcome } from '../../src/domain/job.js';
import { DEFAULT_SPEC, WHOLE_ROLLOUT } from '../../src/domain/release.js';
import { digestOf } from '../../src/oci/digest.js';
import type { ClaimRequest, NewJob, Store } from '../../src/store/store.js';
import type { OpenedStore } from './store.js';
import { type Operation, steps, WORKERS } from './store-operations.js';
import { isLive, Reference } from './store-reference.js';

const START = 1_700_000_000_000;
const ENDPOINT = 'e1';
const IMAGE = { reference: 'a:1', repository: 'a', tag: '1', digest: digestOf('a') };

/** The queue verbs of a Store against a reference in memory: the same operations, the same answers, the same content after each. */
export function describeStoreModel(name: string, open: () => Promise<OpenedStore>): void {
  describe(`store model: ${name}`, () => {
    it('agrees with the reference after every operation', async () => {
      await fc.assert(
        fc.asyncProperty(steps, async (sequence) => {
          const opened = await open();
          const run = new Run(opened, opened.store);
          try {
            await run.prepare();
            for (const { passedMs, operation: next } of sequence) await run.step(next, passedMs);
          } finally {
            await run.store.close();
            opened.remove();
          }
        }),
        { numRuns: 200, interruptAfterTimeLimit: 40_000 },
      );
    });
  });
}

type Lease = Extract<Operation, { verb: 'settle' }>['by'];

/** One store and its reference, side by side. */
class Run {
  store: Store;
  readonly #opened: OpenedStore;
  readonly #reference = new Reference();
  /** Workers in their places; a drained one is replaced. */
  readonly #workers: string[] = [];
  #ids = 0;
  #chunkIds = 0;
  #newest = 0;
  #now = START;
  #before = new Map<string, Job>();

  constructor(opened: OpenedStore, store: Store) {
    this.#opened = opened;
    this.store = store;
  }

  async prepare(): Promise<void> {
    const none = { activeRelease: null, pausedReason: null, labels: {}, expiresAt: null };
    await this.store.addEndpoint({ id: ENDPOINT, name: ENDPOINT, type: 'queue', settings: DEFAULT_SETTINGS, createdAt: START, ...none });
    await this.#addRelease(100);
    await this.#changeRollout({ state: 'DONE' });
    for (let place = 0; place < WORKERS; place++) await this.#addWorker(place);
  }

  async step(operation: Operation, passedMs: number): Promise<void> {
    this.#now += passedMs;
    await this.#apply(operation);
    await this.#compare();
  }

  async #apply(operation: Operation): Promise<void> {
    switch (operation.verb) {
      case 'enqueue':
        return this.#enqueue(operation);
      case 'claim':
        return this.#claim([this.#worker(operation.worker)], operation);
      case 'claimTogether':
        return this.#claim(this.#workers, operation);
      case 'extend':
        return this.#extend(operation);
      case 'progress':
        return this.#progress(operation);
      case 'settle':
        return this.#settle(operation);
      case 'end':
        return this.#end(operation);
      case 'race':
        return this.#race(operation);
      case 'chunks':
        return this.#chunks(operation);
      case 'readChunks':
        return this.#readChunks(operation.job);
      case 'requeue':
        return this.#giveBack(operation);
      case 'retry':
        return this.#retry(operation.job);
      case 'shorten':
        await this.store.shortenRetention(this.#job(operation.job), this.#now + operation.keepMs);
        this.#reference.shorten(this.#job(operation.job), this.#now + operation.keepMs);
        return;
      case 'purge':
        return this.#purge(operation.keepMs);
      case 'expire':
        return this.#expire();
      case 'sweep':
        expect((await this.store.sweep(this.#now, 1_000)).buried).toBe(this.#reference.sweep(this.#now));
        return;
      case 'drain':
        return this.#drain(operation.worker);
      case 'roll':
        return this.#roll(operation);
      case 'reopen':
        await this.store.close();
        this.store = await this.#opened.reopen();
    }
  }

  /** The store shows what the reference shows, and no job went a way that the drawing does not have. */
  async #compare(): Promise<void> {
    const listed = await this.store.listJobs({ endpointId: ENDPOINT, limit: 1_000 });
    const expected = [...this.#reference.jobs.values()].map(({ job }) => job).reverse();
    expect(listed).toEqual(expected.map(factsOf));
    const jobs = (await Promise.all(listed.map(({ id }) => this.store.getJob(id)))).flatMap((job) => job ?? []);
    expect(jobs).toEqual(expected);
    expect(await this.store.sampleQueue(ENDPOINT)).toEqual(this.#reference.sample());
    for (const release of [this.#reference.routing.activeRelease ?? 0, this.#newest]) {
      expect(await this.store.sampleQueue(ENDPOINT, release)).toEqual(this.#reference.sample(release));
    }
    for (const job of jobs) this.#checkEdge(this.#before.get(job.id), job);
    this.#before = new Map(jobs.map((job) => [job.id, job]));
    for (const { id, state: actual } of await this.store.listWorkers(ENDPOINT, true)) {
      expect([id, actual]).toEqual([id, this.#reference.workers.get(id)]);
    }
  }

  #checkEdge(before: Job | undefined, after: Job): void {
    expect(isTerminal(after.state)).toBe(after.finishedAt !== null && after.retainUntil !== null);
    expect(after.leaseUntil !== null).toBe(after.state === 'IN_PROGRESS');
    if (!before) expect(after.state).toBe('IN_QUEUE');
    else if (isTerminal(before.state) && after.state === before.state) expect(resultOf(after)).toEqual(resultOf(before));
    else if (before.state !== after.state) expect(JOB_EDGES[before.state]).toContain(after.state);
  }

  async #enqueue({ priority, key, pin, ttlMs, timeoutMs }: Extract<Operation, { verb: 'enqueue' }>): Promise<void> {
    const n = this.#ids++;
    const fixed = { endpointId: ENDPOINT, extras: null, isSync: n % 2 === 1, webhook: null, batchId: null };
    const job: NewJob = {
      ...fixed,
      id: `j${n}`,
      input: `{"n":${n}}`,
      priority,
      idempotencyKey: key,
      executionTimeoutMs: timeoutMs,
      expiresAt: this.#now + ttlMs,
      pinnedRelease: pin === null ? null : pin === 'newest' ? this.#newest : this.#reference.routing.activeRelease,
    };
    expect(await this.store.enqueue(job, this.#now)).toEqual(this.#reference.enqueue(job, this.#now));
  }

  /** Each job goes to one worker at most, in order for each; a worker that got fewer than it asked for could have no more. */
  async #claim(workers: readonly string[], { limit, leaseMs: ms }: { limit: number; leaseMs: number }): Promise<void> {
    const rest: Omit<ClaimRequest, 'workerId' | 'release'> = { endpointId: ENDPOINT, limit, leaseUntil: this.#now + ms, now: this.#now };
    const answers = await Promise.all(
      workers.map((workerId) => this.store.claim({ ...rest, workerId, release: this.#releaseOf(workerId) })),
    );
    const claimed = answers.flat();
    expect(new Set(claimed.map(({ id }) => id)).size).toBe(claimed.length);
    for (const [at, jobs] of answers.entries()) {
      const workerId = workers[at] ?? '';
      const allowed = this.#reference.claimable(workerId);
      if (workers.length === 1) expect(jobs.map(({ id }) => id)).toEqual(allowed.slice(0, limit).map(({ id }) => id));
      expect(allowed.map(({ id }) => id)).toEqual(expect.arrayContaining(jobs.map(({ id }) => id)));
      for (const job of jobs) expect(job).toEqual(this.#reference.take(job.id, { ...rest, workerId }));
    }
    for (const [at, jobs] of answers.entries()) {
      if (jobs.length < limit) expect(this.#reference.claimable(workers[at] ?? '')).toEqual([]);
    }
  }

  async #extend({ worker, jobs, leaseMs: ms }: Extract<Operation, { verb: 'extend' }>): Promise<void> {
    const workerId = this.#worker(worker);
    const confirmed = jobs.map((at) => this.#job(at));
    await this.store.extend(workerId, { confirmed, leaseUntil: this.#now + ms }, this.#now);
    this.#reference.extend(workerId, confirmed, this.#now + ms);
  }

  async #progress({ job, by: who, value }: Extract<Operation, { verb: 'progress' }>): Promise<void> {
    const lease = this.#lease(job, who);
    await this.store.report({ ...lease, progress: String(value) });
    this.#reference.progress(lease.jobId, lease.workerId, String(value));
  }

  async #settle({ job, by: who, state: as, keepMs: ms, nextLeaseMs }: Extract<Operation, { verb: 'settle' }>): Promise<void> {
    const lease = this.#lease(job, who);
    const { jobId, workerId } = lease;
    const retainUntil = this.#now + ms;
    const outcome = outcomeOf(as);
    const isCurrent = this.#reference.isHeld(jobId, workerId);
    const next = nextLeaseMs === null ? undefined : { release: this.#releaseOf(workerId), leaseUntil: this.#now + nextLeaseMs };
    const settled = await this.store.settle({
      ...lease,
      endpointId: ENDPOINT,
      outcome,
      retainUntil,
      now: this.#now,
      ...(next && { next }),
    });
    if (!isCurrent) return expect(settled).toBeUndefined();
    expect(settled?.job).toEqual(this.#reference.finish(jobId, outcome, { finishedAt: this.#now, retainUntil }));
    const isFree = this.#reference.heldBy(workerId).length === 0;
    const [due] = next && isFree ? this.#reference.claimable(workerId) : [];
    expect(settled?.next).toEqual(due && next && this.#reference.take(due.id, { ...next, workerId, now: this.#now }));
  }

  async #end({ job, state: as, from: states, keepMs: ms }: Extract<Operation, { verb: 'end' }>): Promise<void> {
    const jobId = this.#job(job);
    const retainUntil = this.#now + ms;
    const outcome = outcomeOf(as);
    const before = this.#reference.jobs.get(jobId)?.job.state;
    const isMeant = before !== undefined && isLive(before) && states.includes(before);
    const ended = await this.store.end({ jobId, outcome, from: states, retainUntil, now: this.#now });
    expect(ended).toEqual(isMeant ? this.#reference.finish(jobId, outcome, { finishedAt: this.#now, retainUntil }) : undefined);
  }

  /** A result and a cancel at once: one of them ends the job, the other finds it ended. */
  async #race({ job, isCancelFirst }: Extract<Operation, { verb: 'race' }>): Promise<void> {
    const lease = this.#lease(job, 'holder');
    const moments = { retainUntil: this.#now, now: this.#now };
    const isHeld = this.#reference.isHeld(lease.jobId, lease.workerId);
    const cancel = () => this.store.end({ jobId: lease.jobId, outcome: outcomeOf('CANCELLED'), from: ['IN_PROGRESS'], ...moments });
    const settle = async () =>
      (await this.store.settle({ ...lease, endpointId: ENDPOINT, outcome: outcomeOf('COMPLETED'), ...moments }))?.job;
    const winners = (await Promise.all(isCancelFirst ? [cancel(), settle()] : [settle(), cancel()])).filter((won) => won !== undefined);
    expect(winners).toHaveLength(isHeld ? 1 : 0);
    for (const won of winners) {
      const outcome = outcomeOf(won.state === 'CANCELLED' ? 'CANCELLED' : 'COMPLETED');
      expect(won).toEqual(this.#reference.finish(won.id, outcome, { finishedAt: this.#now, retainUntil: this.#now }));
    }
  }

  async #chunks({ job, by: who, count }: Extract<Operation, { verb: 'chunks' }>): Promise<void> {
    const lease = this.#lease(job, who);
    const chunks = Array.from({ length: count }, (_, at) => `"${this.#chunkIds++}-${at}"`);
    const kept = await this.store.report({ ...lease, chunks });
    expect(kept?.chunks).toBe(this.#reference.addChunks(lease.jobId, lease.workerId, chunks));
  }

  /** Each chunk is delivered once and in order; a reader from the start sees all of them. */
  async #readChunks(at: number): Promise<void> {
    const jobId = this.#job(at);
    expect((await this.store.readChunks({ jobId, after: null })).chunks).toEqual(this.#reference.chunks(jobId));
    expect((await this.store.readChunks({ jobId, after: 'delivered' })).chunks).toEqual(this.#reference.deliver(jobId));
  }

  async #retry(at: number): Promise<void> {
    const jobId = this.#job(at);
    const again = await this.store.requeue({ jobId, workerId: null }, 'retry', this.#now);
    expect(again).toEqual(this.#reference.retry(jobId, this.#now));
  }

  async #giveBack({ cause, job, by: who }: Extract<Operation, { verb: 'requeue' }>): Promise<void> {
    const { jobId, workerId } = this.#lease(job, who);
    const isHeld = this.#reference.isHeld(jobId, workerId);
    const given = await this.store.requeue({ jobId, workerId }, cause, this.#now);
    expect(given).toEqual(isHeld ? this.#reference[cause](jobId) : undefined);
  }

  async #purge(ms: number): Promise<void> {
    const retainUntil = this.#now + ms;
    const purged = await this.store.purge(ENDPOINT, retainUntil, this.#now);
    expect([...purged].sort()).toEqual(this.#reference.purge({ finishedAt: this.#now, retainUntil }).sort());
  }

  /** What the reaper does: a job past its time ends, one past its lease goes back. */
  async #expire(): Promise<void> {
    const now = this.#now;
    const late = await this.store.listOverdue(now, 1_000);
    const byId = (a: JobFacts, b: JobFacts) => a.id.localeCompare(b.id);
    expect([...late].sort(byId)).toEqual(this.#reference.overdue(now).sort(byId).map(factsOf));
    for (const { id, state: before, expiresAt, workerId } of late) {
      if (expiresAt >= now && workerId !== null) {
        expect(await this.store.requeue({ jobId: id, workerId }, 'lost', now)).toEqual(this.#reference.lost(id));
        continue;
      }
      const outcome = outcomeOf('TIMED_OUT');
      const ended = await this.store.end({ jobId: id, outcome, from: [before], retainUntil: now, now });
      expect(ended).toEqual(this.#reference.finish(id, outcome, { finishedAt: now, retainUntil: now }));
    }
  }

  /** It keeps what it holds and gets nothing more; another one takes its place. */
  async #drain(place: number): Promise<void> {
    const id = this.#worker(place);
    expect(await this.store.changeWorker({ id, state: 'DRAINING' })).toMatchObject({ id, state: 'DRAINING' });
    this.#reference.workers.set(id, 'DRAINING');
    const rest: Omit<ClaimRequest, 'workerId'> = {
      endpointId: ENDPOINT,
      release: this.#releaseOf(id),
      limit: 1,
      leaseUntil: this.#now,
      now: this.#now,
    };
    expect(await this.store.claim({ ...rest, workerId: id })).toEqual([]);
    await this.#addWorker(place);
  }

  /** Begins a canary with workers of its own, changes its share, or ends it. */
  async #roll({ share, step }: Extract<Operation, { verb: 'roll' }>): Promise<void> {
    const { canary } = this.#reference.routing;
    if (!canary) {
      await this.#addRelease(share);
      await this.#changeRollout({ state: 'CANARY' });
      for (let place = WORKERS / 2; place < WORKERS; place++) await this.#addWorker(place);
    } else await this.#changeRollout(step === 'share' ? { share } : { state: step });
  }

  async #addRelease(share: number): Promise<void> {
    const release = { endpointId: ENDPOINT, createdAt: this.#now, author: 'me', source: 'deploy', sourceRevision: null };
    const added = await this.store.addRelease({ ...release, image: IMAGE, spec: DEFAULT_SPEC }, { ...WHOLE_ROLLOUT, share }, this.#now);
    expect(added).toMatchObject({ release: { number: ++this.#newest }, rollout: { state: 'PROVING', share } });
  }

  async #changeRollout(change: { readonly state?: 'CANARY' | 'DONE' | 'REVERTED'; readonly share?: number }): Promise<void> {
    const changed = await this.store.changeRollout({ endpointId: ENDPOINT, to: this.#newest, ...change }, this.#now);
    expect(changed).toMatchObject({ to: this.#newest, ...change });
    const { activeRelease } = this.#reference.routing;
    this.#reference.routing = {
      activeRelease: changed?.state === 'DONE' ? this.#newest : activeRelease,
      canary: changed?.state === 'CANARY' ? { release: this.#newest, share: changed.share } : null,
    };
  }

  async #addWorker(place: number): Promise<void> {
    const id = `w${this.#reference.workers.size}`;
    const never = {
      start: null,
      readyAt: null,
      lastSeenAt: null,
      idleSince: null,
      frozenAt: null,
      memoryBytes: null,
      thaws: null,
      gpus: null,
      admittedAt: START,
      stoppedAt: null,
      exitCode: null,
      reason: null,
    };
    const { activeRelease, canary } = this.#reference.routing;
    const release = (place < WORKERS / 2 ? undefined : canary?.release) ?? activeRelease ?? 0;
    this.#reference.releases.set(id, release);
    const made = { id, endpointId: ENDPOINT, release, tokenHash: 'x', runtime: 'process', handle: null, isCandidate: false };
    await this.store.addWorker({ ...made, ...never, state: 'INITIALIZING', createdAt: this.#now });
    this.#reference.workers.set(id, 'INITIALIZING');
    this.#workers[place] = id;
  }

  #releaseOf(workerId: string): number {
    return this.#reference.releases.get(workerId) ?? 0;
  }

  #worker(place: number): string {
    return this.#workers[place] ?? '';
  }

  /** One of the jobs there are, now and then one that is unknown. */
  #job(at: number, known = [...this.#reference.jobs.values()].map(({ job }) => job)): string {
    return (at % 16 === 15 ? undefined : known[at % known.length]?.id) ?? 'unknown';
  }

  #lease(at: number, who: Lease): { jobId: string; workerId: string } {
    const jobId = who === 'holder' ? this.#job(at, this.#reference.running()) : this.#job(at);
    const last = this.#reference.jobs.get(jobId)?.job.workerId ?? 'nobody';
    return { jobId, workerId: typeof who === 'number' ? this.#worker(who) : last };
  }
}

function outcomeOf(as: 'COMPLETED' | 'FAILED' | 'CANCELLED' | 'TIMED_OUT'): Outcome {
  return { state: as, output: as === 'COMPLETED' ? '1' : null, error: as === 'COMPLETED' ? null : `"${as}"` };
}

/** What may not change any more once a job has ended. */
function resultOf({ state, output, error, finishedAt, workerId, attempt, chunks }: Job) {
  return { state, output, error, finishedAt, workerId, attempt, chunks };
}

function factsOf({ input: _input, extras: _extras, output: _output, error: _error, ...facts }: Job): JobFacts {
  return facts;
}
