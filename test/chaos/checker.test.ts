import { describe, expect, it } from 'vitest';
import { check } from './checker.js';
import type { Execution, Facts, Observation, Snapshot } from './history.js';

/** A run without fault: one job by each way, and a job that ran twice because its first worker was killed. */
const execution = (at: number, id: string, run: string, worker: string, phase: Execution['phase'] = 'begins'): Execution => ({
  kind: 'execution',
  phase,
  at,
  id,
  run,
  pid: 7,
  worker,
  endpoint: 'e',
  code: 'one',
});
const acked = (at: number, id: string): Observation => ({ kind: 'submitted', at, endpoint: 'e', outcome: 'acked', id, webhook: true });
const observed = (at: number, id: string, status: string, output?: unknown): Observation => ({
  kind: 'observed',
  at,
  askedAt: at - 1,
  id,
  status,
  ...(output !== undefined && { output }),
});
const HISTORY: readonly Observation[] = [
  acked(10, 'a'),
  acked(11, 'b'),
  { kind: 'submitted', at: 12, endpoint: 'e', outcome: 'unknown' },
  execution(20, 'a', 'a1', 'w-1'),
  execution(20, 'b', 'b1', 'w-2'),
  observed(25, 'a', 'IN_PROGRESS'),
  { kind: 'killed', at: 30, target: 'worker', worker: 'w-2' },
  { kind: 'chunk', at: 21, id: 'a', run: 'a1', index: 0 },
  { kind: 'chunk', at: 22, id: 'a', run: 'a1', index: 1 },
  execution(40, 'b', 'b2', 'w-1'),
  observed(50, 'a', 'COMPLETED', { run: 'a1' }),
  { kind: 'webhook', at: 51, id: 'a', status: 'COMPLETED' },
  { kind: 'webhook', at: 61, id: 'b', status: 'COMPLETED' },
  observed(60, 'b', 'COMPLETED', { run: 'b2' }),
  { kind: 'workers', at: 60, endpoint: 'e', counted: 2, processes: 3 },
  { kind: 'counted', at: 60, endpoint: 'e', sum: 2, ackedBefore: 2, submittedAfter: 3, cancelsAfter: 0 },
];
const SNAPSHOT: Snapshot = {
  jobs: [
    { id: 'a', endpoint: 'e', status: 'COMPLETED', output: { run: 'a1' }, worker: 'w-1', attempt: 1, release: 1 },
    { id: 'b', endpoint: 'e', status: 'COMPLETED', output: { run: 'b2' }, worker: 'w-1', attempt: 2, release: 1 },
  ],
  endpoints: [{ id: 'e', max: 2, min: 0, attempts: 3, completed: 2, failed: 0, live: 0, workersAtRest: 0 }],
  releases: [{ endpoint: 'e', number: 1, code: 'one', digest: 'sha256:1', actual: 'sha256:1', blobs: [] }],
  workers: [
    { id: 'w-1', endpoint: 'e', release: 1, state: 'STOPPED' },
    { id: 'w-2', endpoint: 'e', release: 1, state: 'STOPPED' },
  ],
  webhooksFailed: [],
  leftovers: [],
  leaks: [],
  settledAfterMs: 900,
};

const broken = (more: readonly Observation[], change: Partial<Snapshot> = {}, without?: (one: Observation) => boolean): string[] => {
  const facts: Facts = {
    history: [...HISTORY.filter((one) => !without?.(one)), ...more],
    snapshot: { ...SNAPSHOT, ...change },
  };
  return [...new Set(check(facts).map(({ invariant }) => invariant))];
};
const withJob = (index: number, change: Partial<Snapshot['jobs'][number]>): Partial<Snapshot> => ({
  jobs: SNAPSHOT.jobs.map((job, at) => (at === index ? { ...job, ...change } : job)),
});
const withEndpoint = (change: Partial<Snapshot['endpoints'][number]>): Partial<Snapshot> => ({
  endpoints: SNAPSHOT.endpoints.map((endpoint) => ({ ...endpoint, ...change })),
});

describe('the history checker', () => {
  it('accepts a run in which a killed job ran again and a submission had no answer', () => {
    expect(check({ history: HISTORY, snapshot: SNAPSHOT })).toEqual([]);
    expect(broken([], { ...withEndpoint({ completed: 3 }) })).toEqual([]);
  });

  it.each<[string, string, string[]]>([
    ['a lost job', 'I1', broken([acked(70, 'c')])],
    ['an acked job that answers 404', 'I1', broken([observed(70, 'a', 'MISSING')])],
    ['an id that was given out twice', 'I1', broken([acked(70, 'a')])],
    ['a job that never ends', 'I2', broken([], { ...withJob(1, { status: 'IN_QUEUE' }) })],
    ['a second terminal state', 'I2', broken([observed(70, 'a', 'CANCELLED')])],
    ['a terminal state that is left', 'I2', broken([observed(70, 'a', 'IN_QUEUE')])],
    ['jobs that need too long to end', 'I2', broken([], { settledAfterMs: 61_000 })],
    ['a result that changes', 'I3', broken([observed(70, 'a', 'COMPLETED', { run: 'a2' })])],
    ['the result of a run that was given up', 'I3', broken([], withJob(1, { output: { run: 'b1' } }))],
    ['a result that no handler made', 'I3', broken([], {}, (one) => one.kind === 'execution' && one.id === 'a')],
    ['a result counted twice', 'I3', broken([], withEndpoint({ completed: 4 }))],
    ['a result that was not counted', 'I3', broken([], withEndpoint({ completed: 1, live: 1 }))],
    ['a result named after another worker', 'I3', broken([], withJob(0, { worker: 'w-2' }))],
    ['too many attempts', 'I4', broken([], withJob(0, { attempt: 4 }))],
    ['a job that runs again without need', 'I4', broken([], {}, (one) => one.kind === 'killed')],
    ['a job given twice to one worker', 'I4', broken([execution(45, 'b', 'b3', 'w-1')], withJob(1, { output: { run: 'b3' } }))],
    ['a job at the wrong endpoint', 'I5', broken([{ ...execution(20, 'a', 'a1', 'w-1'), endpoint: 'f' }])],
    ['code of another release', 'I5', broken([{ ...execution(20, 'a', 'a1', 'w-1', 'returns'), code: 'two' }])],
    ['a worker that nobody knows', 'I5', broken([execution(19, 'a', 'a0', 'w-9', 'returns')])],
    ['a job that says another release', 'I5', broken([], withJob(0, { release: 2 }))],
    [
      'a job missing from the counts',
      'I6',
      broken([{ kind: 'counted', at: 70, endpoint: 'e', sum: 1, ackedBefore: 2, submittedAfter: 3, cancelsAfter: 0 }]),
    ],
    [
      'a job too many in the counts',
      'I6',
      broken([{ kind: 'counted', at: 70, endpoint: 'e', sum: 4, ackedBefore: 2, submittedAfter: 3, cancelsAfter: 0 }]),
    ],
    ['counts at the end that are not the jobs', 'I6', broken([], withEndpoint({ live: 2 }))],
    ['more workers than max', 'I7', broken([{ kind: 'workers', at: 70, endpoint: 'e', counted: 3, processes: 3 }])],
    ['more processes than max and a candidate', 'I7', broken([{ kind: 'workers', at: 70, endpoint: 'e', counted: 2, processes: 4 }])],
    ['a worker left at rest', 'I7', broken([], withEndpoint({ workersAtRest: 1 }))],
    ['a leftover process', 'I8', broken([], { leftovers: ['process 7'] })],
    ['a gap in a stream', 'I9', broken([{ kind: 'chunk', at: 23, id: 'a', run: 'a1', index: 3 }])],
    ['a chunk that comes twice', 'I9', broken([{ kind: 'chunk', at: 23, id: 'a', run: 'a1', index: 1 }])],
    ['a stream that does not begin at its beginning', 'I9', broken([{ kind: 'chunk', at: 23, id: 'b', run: 'b2', index: 1 }])],
    [
      'chunks of a run that was given up',
      'I9',
      broken([
        { kind: 'chunk', at: 23, id: 'a', run: 'a2', index: 0 },
        { kind: 'chunk', at: 24, id: 'a', run: 'a1', index: 2 },
      ]),
    ],
    ['a webhook that was never sent', 'I10', broken([], {}, (one) => one.kind === 'webhook' && one.id === 'a')],
    ['a leaked secret', 'I11', broken([], { leaks: [{ secret: 'the admin key', place: 'logs' }] })],
    ['a changed manifest', 'I12', broken([], { releases: SNAPSHOT.releases.map((one) => ({ ...one, actual: 'sha256:2' })) })],
    [
      'a missing blob',
      'I12',
      broken([], { releases: SNAPSHOT.releases.map((one) => ({ ...one, blobs: [{ digest: 'sha256:3', actual: null }] })) }),
    ],
  ])('refuses %s (%s)', (_what, invariant, found) => {
    expect(found).toContain(invariant);
  });

  it('takes a failed delivery of a webhook for told when it is listed', () => {
    expect(broken([], { webhooksFailed: ['a'] }, (one) => one.kind === 'webhook' && one.id === 'a')).toEqual([]);
  });
});
