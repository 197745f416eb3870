import { type Execution, type Facts, groupBy, type Observation, ofKind, TERMINAL, type Violation } from './history.js';
import { keepsBounds, keepsImages, keepsSecrets, keepsStreams, keepsWebhooks, leavesNothing } from './platform.js';

export type Check = (facts: Facts) => readonly Violation[];

/** Every job is to be terminal so soon after the last kill. */
export const SETTLE_LIMIT_MS = 60_000;

/** The invariants, each alone; the names are those of the printed verdict. */
export const INVARIANTS: Readonly<Record<string, Check>> = {
  I1: losesNothing,
  I2: endsOnce,
  I3: acceptsOne,
  I4: keepsAttempts,
  I5: runsWhereItBelongs,
  I6: addsUp,
  I7: keepsBounds,
  I8: leavesNothing,
  I9: keepsStreams,
  I10: keepsWebhooks,
  I11: keepsSecrets,
  I12: keepsImages,
};

/** Judges a run; empty when every invariant holds. */
export function check(facts: Facts): readonly Violation[] {
  return Object.values(INVARIANTS).flatMap((judge) => judge(facts));
}

/** Runs by job, each by its beginning, in their order. */
export function runsByJob(history: readonly Observation[]): Map<string, Execution[]> {
  const begun = ofKind(history, 'execution').filter(({ phase }) => phase === 'begins');
  return groupBy(
    begun.sort((a, b) => a.at - b.at),
    ({ id }) => id,
  );
}

/** I1: every acked id is there, at the end and whenever it was asked for. */
function losesNothing({ history, snapshot }: Facts): Violation[] {
  const present = new Map(snapshot.jobs.map((job) => [job.id, job.status]));
  const acked = ofKind(history, 'submitted').flatMap(({ id, outcome }) => (outcome === 'acked' && id !== undefined ? [id] : []));
  const known = new Set(acked);
  const lost = acked.filter((id) => (present.get(id) ?? 'MISSING') === 'MISSING');
  const missed = ofKind(history, 'observed').filter(({ id, status }) => status === 'MISSING' && known.has(id));
  const twice = [...groupBy(acked, (id) => id)].filter(([, same]) => same.length > 1);
  return [
    ...lost.map((subject) => ({ invariant: 'I1', subject, what: 'was acknowledged and is not there at the end' })),
    ...missed.map(({ id, at }) => ({ invariant: 'I1', subject: id, what: `was acknowledged and answered 404 at ${Math.round(at)}` })),
    ...twice.map(([subject]) => ({ invariant: 'I1', subject, what: 'the same id was given to two submissions' })),
  ];
}

/** I2: each id has exactly one terminal state and never leaves it; all are terminal soon after the last kill. */
function endsOnce({ history, snapshot }: Facts): Violation[] {
  const violations: Violation[] = [];
  const say = (subject: string, what: string) => violations.push({ invariant: 'I2', subject, what });
  const seen = groupBy(ofKind(history, 'observed'), ({ id }) => id);
  for (const { id, status } of snapshot.jobs) {
    if (!TERMINAL.has(status) && status !== 'MISSING') say(id, `is still ${status} at the end`);
    const ends = new Set((seen.get(id) ?? []).map((one) => one.status).filter((one) => TERMINAL.has(one)));
    if (TERMINAL.has(status)) ends.add(status);
    if (ends.size > 1) say(id, `ended as ${[...ends].join(' and ')}`);
  }
  for (const [id, observed] of seen) {
    const ended = observed
      .filter(({ status }) => TERMINAL.has(status))
      .reduce((first, { at }) => Math.min(first, at), Number.POSITIVE_INFINITY);
    const left = observed.find(({ status, askedAt }) => askedAt > ended && !TERMINAL.has(status));
    if (left) say(id, `was terminal and then ${left.status}`);
  }
  if (snapshot.settledAfterMs > SETTLE_LIMIT_MS) say('all jobs', `took ${snapshot.settledAfterMs} ms to end after the last kill`);
  return violations;
}

/** I3: one result a job, never another one after it, and it is that of the newest run. */
function acceptsOne({ history, snapshot }: Facts): Violation[] {
  const violations: Violation[] = [];
  const say = (subject: string, what: string) => violations.push({ invariant: 'I3', subject, what });
  const runs = runsByJob(history);
  const seen = groupBy(ofKind(history, 'observed'), ({ id }) => id);
  for (const job of snapshot.jobs) {
    const ended = [...(seen.get(job.id) ?? []), job].filter(({ status }) => status === 'COMPLETED' || status === 'FAILED');
    const results = new Set(ended.map(({ output, error }) => JSON.stringify([output ?? null, error ?? null])));
    if (results.size > 1) say(job.id, `was answered with ${results.size} different results`);
    if (job.status !== 'COMPLETED') continue;
    const accepted = runOf(job.output);
    const newest = runs.get(job.id)?.at(-1);
    if (!newest) say(job.id, 'is completed and no handler ever had it');
    else if (!isStreamOnly(job.output) && accepted !== newest.run)
      say(job.id, `holds the result of run ${accepted}, the newest is ${newest.run}`);
    else if (job.worker !== undefined && job.worker !== newest.worker) say(job.id, `names worker ${job.worker}, ${newest.worker} ran it`);
  }
  const completed = groupBy(
    snapshot.jobs.filter(({ status }) => status === 'COMPLETED'),
    ({ endpoint }) => endpoint,
  );
  for (const { id, completed: counted } of snapshot.endpoints) {
    const stored = completed.get(id)?.length ?? 0;
    if (counted > stored + unknownSubmissions(history, id)) say(id, `accepted ${counted} results for ${stored} completed jobs`);
    if (counted < stored) say(id, `counted ${counted} results and shows ${stored} completed jobs`);
  }
  return violations;
}

/** Submissions that may have been stored without anybody knowing their id. */
function unknownSubmissions(history: readonly Observation[], endpoint: string): number {
  return ofKind(history, 'submitted').filter((one) => one.endpoint === endpoint && one.outcome === 'unknown').length;
}

const isStreamOnly = (output: unknown) => Array.isArray(output) && output.length === 0;

/** The run that a result names; a stream's is in each of its chunks, and a stream that is not collected names none. */
function runOf(output: unknown): unknown {
  if (Array.isArray(output)) return runOf(output[0]);
  return typeof output === 'object' && output !== null ? (output as Record<string, unknown>)['run'] : undefined;
}

/** I4: attempts stay within the bound, and a job runs again only when what ran it before is gone. */
function keepsAttempts({ history, snapshot }: Facts): Violation[] {
  const violations: Violation[] = [];
  const say = (subject: string, what: string) => violations.push({ invariant: 'I4', subject, what });
  const bounds = new Map(snapshot.endpoints.map(({ id, attempts }) => [id, attempts]));
  for (const { id, endpoint, attempt } of snapshot.jobs) {
    const bound = bounds.get(endpoint) ?? Number.POSITIVE_INFINITY;
    if (attempt !== undefined && attempt > bound) say(id, `was given out ${attempt} times, ${bound} are allowed`);
  }
  const excused = excuses(history);
  for (const [id, runs] of runsByJob(history)) {
    const bound = bounds.get(runs[0]?.endpoint ?? '') ?? Number.POSITIVE_INFINITY;
    if (runs.length > bound) say(id, `ran ${runs.length} times, ${bound} are allowed`);
    const workers = new Set(runs.map(({ worker }) => worker));
    if (workers.size < runs.length) say(id, 'ran twice on the same worker');
    for (const [index, run] of runs.entries()) {
      const next = runs[index + 1];
      if (next && !excused(run, next.at)) say(id, `ran again on ${next.worker} though ${run.worker} lived`);
    }
  }
  return violations;
}

/** Tells whether something ended a run's process before a moment: a kill from outside, its own exit, or a pause that may have cost its lease. */
function excuses(history: readonly Observation[]): (run: Execution, before: number) => boolean {
  const deaths = groupBy(
    [...ofKind(history, 'killed'), ...ofKind(history, 'paused').filter(({ forMs }) => forMs > LEASE_MS)].filter(
      ({ worker }) => worker !== undefined,
    ),
    ({ worker }) => worker ?? '',
  );
  const supervisors = ofKind(history, 'killed').filter(({ target }) => target === 'supervisor');
  const exits = new Set(
    ofKind(history, 'execution')
      .filter(({ phase }) => phase === 'exits')
      .map(({ run }) => run),
  );
  return (run, before) =>
    exits.has(run.run) || [...(deaths.get(run.worker) ?? []), ...supervisors].some(({ at }) => at >= run.at - SLACK_MS && at <= before);
}

/** Silence that may cost a worker its lease. */
const LEASE_MS = 30_000;

/** A kill is noted when the signal was sent, a moment after it may have acted. */
const SLACK_MS = 250;

/** I5: a job runs on a worker of its endpoint, with the code of that worker's release. */
function runsWhereItBelongs({ history, snapshot }: Facts): Violation[] {
  const violations: Violation[] = [];
  const say = (subject: string, what: string) => violations.push({ invariant: 'I5', subject, what });
  const endpointOf = new Map(
    ofKind(history, 'submitted').flatMap(({ id, endpoint }) => (id === undefined ? [] : [[id, endpoint] as const])),
  );
  const workers = new Map(snapshot.workers.map((worker) => [worker.id, worker]));
  const codes = new Map(snapshot.releases.map(({ endpoint, number, code }) => [`${endpoint}/${number}`, code]));
  for (const { id, endpoint, worker, code } of ofKind(history, 'execution')) {
    const wanted = endpointOf.get(id);
    if (wanted !== undefined && wanted !== endpoint) say(id, `of endpoint ${wanted} ran at endpoint ${endpoint}`);
    const known = workers.get(worker);
    if (!known) say(id, `ran on ${worker}, which nobody knows`);
    else if (known.endpoint !== endpoint) say(id, `ran on ${worker} of endpoint ${known.endpoint}, which said ${endpoint}`);
    else if (codes.get(`${endpoint}/${known.release}`) !== code) say(id, `ran code ${code} on a worker of release ${known.release}`);
  }
  for (const { id, endpoint, worker, release } of snapshot.jobs) {
    const known = worker === undefined ? undefined : workers.get(worker);
    if (!known || release === undefined) continue;
    if (known.release !== release || known.endpoint !== endpoint) say(id, `says release ${release}, its worker is of ${known.release}`);
  }
  return violations;
}

/** I6: queued, running and terminal jobs are together what was accepted, at every look. */
function addsUp({ history, snapshot }: Facts): Violation[] {
  const violations: Violation[] = [];
  for (const { endpoint, sum, ackedBefore, submittedAfter, cancelsAfter, at } of ofKind(history, 'counted')) {
    if (sum >= ackedBefore - cancelsAfter && sum <= submittedAfter) continue;
    const what = `counted ${sum} jobs at ${Math.round(at)}; ${ackedBefore} were acknowledged, ${cancelsAfter} perhaps cancelled, ${submittedAfter} submitted`;
    violations.push({ invariant: 'I6', subject: endpoint, what });
  }
  for (const { id, completed, failed, live } of snapshot.endpoints) {
    const jobs = snapshot.jobs.filter(({ endpoint, status }) => endpoint === id && status !== 'CANCELLED' && status !== 'MISSING').length;
    const sum = completed + failed + live;
    const unknown = unknownSubmissions(history, id);
    if (sum < jobs || sum > jobs + unknown)
      violations.push({
        invariant: 'I6',
        subject: id,
        what: `counts ${sum} jobs at the end, there are ${jobs} and at most ${unknown} more`,
      });
  }
  return violations;
}
