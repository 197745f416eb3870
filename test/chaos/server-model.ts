/** A job as its client sees it. */
export interface ModelJob {
  readonly id: string;
  readonly seq: number;
  readonly isLow: boolean;
  state: 'IN_QUEUE' | 'IN_PROGRESS' | 'COMPLETED' | 'FAILED' | 'CANCELLED';
  workerId: string | null;
  /** Undefined when the answer has none. */
  output: unknown;
  error: unknown;
  chunks: unknown[];
  delivered: number;
  /** Numbers of the chunk posts so far. */
  posts: number;
  /** Workers that had it: they never get it again. */
  readonly tried: Set<string>;
}

export interface Counts {
  inQueue: number;
  inProgress: number;
  completed: number;
  failed: number;
  retried: number;
}

/** What a client and the workers may expect of one endpoint, in memory and without time: the reference of the random sequences (F2). */
export class ServerModel {
  readonly jobs: ModelJob[] = [];
  readonly keys = new Map<string, ModelJob>();
  #completed = 0;
  #failed = 0;

  submit(id: string, { isLow, key }: { readonly isLow: boolean; readonly key: string | undefined }): ModelJob {
    const job: ModelJob = {
      id,
      seq: this.jobs.length,
      isLow,
      state: 'IN_QUEUE',
      workerId: null,
      output: undefined,
      error: undefined,
      chunks: [],
      delivered: 0,
      posts: 0,
      tried: new Set(),
    };
    this.jobs.push(job);
    if (key !== undefined) this.keys.set(key, job);
    return job;
  }

  /** What the next take of a worker brings, in order. */
  waitingFor(workerId: string): ModelJob[] {
    return this.jobs
      .filter(({ state, tried }) => state === 'IN_QUEUE' && !tried.has(workerId))
      .sort((a, b) => Number(a.isLow) - Number(b.isLow) || a.seq - b.seq);
  }

  heldBy(workerId: string): ModelJob[] {
    return this.jobs.filter((job) => job.state === 'IN_PROGRESS' && job.workerId === workerId);
  }

  take(workerId: string, limit: number): ModelJob[] {
    const taken = this.waitingFor(workerId).slice(0, limit);
    for (const job of taken) {
      Object.assign(job, { state: 'IN_PROGRESS', workerId, output: undefined });
      job.tried.add(workerId);
    }
    return taken;
  }

  /** The body of a job-done; ignored unless that worker holds the job. True when it ended the job. */
  done(job: ModelJob, workerId: string, body: Record<string, unknown>): boolean {
    if (!this.#holds(job, workerId)) return false;
    if (body['status'] === 'IN_PROGRESS') {
      job.output = body['output'] ?? null;
      return false;
    }
    job.output = body['output'];
    if (body['error']) {
      job.error = body['error'];
      job.state = 'FAILED';
      this.#failed++;
    } else {
      // A success without a value shows null.
      job.output ??= null;
      job.state = 'COMPLETED';
      this.#completed++;
    }
    return true;
  }

  /** A chunk with its number; one that is repeated, late or foreign is ignored. */
  addChunk(job: ModelJob, { workerId, post, output }: { workerId: string; post: number; output: unknown }): void {
    if (!this.#holds(job, workerId) || post <= job.posts) return;
    job.posts = post;
    job.chunks.push(output);
  }

  /** What /stream answers now, once. */
  readStream(job: ModelJob): unknown[] {
    const chunks = job.chunks.slice(job.delivered);
    job.delivered = job.chunks.length;
    return chunks;
  }

  hasNews(job: ModelJob): boolean {
    return job.delivered < job.chunks.length || (job.state !== 'IN_QUEUE' && job.state !== 'IN_PROGRESS');
  }

  cancel(job: ModelJob): void {
    if (job.state === 'IN_QUEUE' || job.state === 'IN_PROGRESS') Object.assign(job, { state: 'CANCELLED', output: undefined });
  }

  /** False when its state allows none. */
  retry(job: ModelJob): boolean {
    if (job.state !== 'FAILED') return false;
    Object.assign(job, { state: 'IN_QUEUE', output: undefined, error: undefined, chunks: [], delivered: 0, posts: 0 });
    return true;
  }

  purge(): number {
    const queued = this.jobs.filter(({ state }) => state === 'IN_QUEUE');
    for (const job of queued) job.state = 'CANCELLED';
    return queued.length;
  }

  counts(): Counts {
    const count = (state: ModelJob['state']) => this.jobs.filter((job) => job.state === state).length;
    return { inQueue: count('IN_QUEUE'), inProgress: count('IN_PROGRESS'), completed: this.#completed, failed: this.#failed, retried: 0 };
  }

  #holds(job: ModelJob, workerId: string): boolean {
    return job.state === 'IN_PROGRESS' && job.workerId === workerId;
  }
}
