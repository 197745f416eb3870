import { spawnSync } from 'node:child_process';
import { createWriteStream, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { openStage, type Stage, until } from '../stage.js';
import { strike, workerProcesses } from './blows.js';
import { check } from './checker.js';
import { ask, type Crowd, submitAtRate, tallyOf } from './clients.js';
import { CANARY, type HandlerSite, nodeSite, pythonSite, streamSite } from './handlers.js';
import { groupBy, type Observation, ofKind, type Snapshot, type Violation } from './history.js';
import { type Blow, type Pace, planBlows, planOrders } from './plan.js';
import { findLeaks, findLeftovers, readEndpoints, readJobs, readReleases, readWorkers, type Secret } from './snapshot.js';

export interface ChaosOptions extends Pace {
  readonly seed: number;
  /** Jobs a second. */
  readonly rate: number;
  /** Jobs that are not finished, at most. */
  readonly inFlight: number;
  readonly hasStreams: boolean;
  readonly hasWebhooks: boolean;
  /** Where history, snapshot and server log are kept. */
  readonly outDir: string;
  readonly say: (line: string) => void;
}

export interface ChaosResult {
  readonly violations: readonly Violation[];
  readonly figures: Readonly<Record<string, number>>;
  /** Why jobs ended that the handler did not end, with how many did. */
  readonly reasons: ReadonlyMap<string, number>;
}

/** Waiting for the last jobs after the last kill: longer than is allowed, so that the checker can say by how much. */
const SETTLE_MS = 120_000;
const REST_MS = 20_000;
const LEAVE_MS = 20_000;

const now = () => Number(process.hrtime.bigint()) / 1e6;

/** One run: load and blows, then rest, then the verdict. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const notesDir = join(options.outDir, 'notes');
  mkdirSync(notesDir, { recursive: true });
  const history: Observation[] = [];
  const file = createWriteStream(join(options.outDir, 'history.jsonl'));
  const note = (observation: Observation) => {
    history.push(observation);
    file.write(`${JSON.stringify(observation)}\n`);
  };
  const hooks = options.hasWebhooks ? await receiveWebhooks(note) : undefined;
  const stage = await openStage({ WHERRY_LOG: 'info', ...(hooks && { WHERRY_WEBHOOK_ALLOW: '127.0.0.1/32' }) });
  try {
    const run = { options, stage, note, notesDir, history };
    const { leaks, settledAfterMs, acts } = await unleash(run, hooks?.url);
    // One by one: as arguments of one call they would be more than a call can have.
    for (const execution of readExecutions(notesDir)) history.push(execution);
    const snapshot = await takeSnapshot(run, { leaks, settledAfterMs });
    for (const execution of ofKind(history, 'execution')) file.write(`${JSON.stringify(execution)}\n`);
    writeFileSync(join(options.outDir, 'snapshot.json'), JSON.stringify(snapshot, null, 1));
    return { violations: check({ history, snapshot }), figures: readFigures(history, snapshot, acts), reasons: readReasons(snapshot) };
  } finally {
    writeFileSync(join(options.outDir, 'server.log'), stage.log());
    await new Promise((resolve) => file.end(resolve));
    hooks?.close();
    await stage.close();
  }
}

interface Run {
  readonly options: ChaosOptions;
  readonly stage: Stage;
  readonly note: (observation: Observation) => void;
  readonly notesDir: string;
  readonly history: readonly Observation[];
}

interface Unleashed {
  readonly leaks: Snapshot['leaks'];
  readonly settledAfterMs: number;
  readonly acts: ReadonlyMap<string, number>;
}

/** Deploys, then clients and blows together; afterwards waits until all is terminal. */
async function unleash({ options, stage, note, notesDir }: Run, webhookUrl: string | undefined): Promise<Unleashed> {
  const { seed, rate, inFlight, say } = options;
  const sites = await deployAll(stage, notesDir, options.hasStreams);
  const over = new AbortController();
  const home = new AbortController();
  const leaks: { secret: string; place: string }[] = [];
  const crowd: Crowd = {
    url: stage.url,
    key: stage.key,
    note,
    now,
    streams: new Set(options.hasStreams ? ['chaos-stream'] : []),
    ...(webhookUrl !== undefined && { webhookUrl }),
    isLeak: (text) => text.includes(stage.key) || text.includes(CANARY),
    leaked: (place) => leaks.push({ secret: 'the admin key or an environment value', place }),
    tally: new Map(),
    signal: home.signal,
  };
  const acts = new Map<string, number>();
  const blows = planBlows(seed, options);
  const clients = submitAtRate(crowd, planOrders(seed, [...sites.keys()]), { perSecond: rate, inFlight, until: over.signal });
  const watching = watch({ stage, crowd, endpoints: [...sites.keys()], until: home.signal });
  const talking = report({ say, crowd, acts, until: home.signal });
  try {
    const count = (act: Blow['act']) => acts.set(act, (acts.get(act) ?? 0) + 1);
    await Promise.all([
      strike({ stage, note, now, deploy: (pick) => deployNext(stage, sites, pick), count }, blows),
      delay(options.durationMs),
    ]);
    over.abort();
    const quietAt = now();
    const late = setTimeout(() => home.abort(), SETTLE_MS);
    await clients;
    clearTimeout(late);
    return { leaks, settledAfterMs: Math.round(now() - quietAt), acts };
  } finally {
    over.abort();
    home.abort();
    await Promise.allSettled([watching, talking, clients]);
  }
}

type Site = { make: (site: HandlerSite) => Record<string, string>; deployed: number };

async function deployAll(stage: Stage, notesDir: string, hasStreams: boolean): Promise<Map<string, Site>> {
  const hasPython = spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 9))']).status === 0;
  const sites = new Map<string, Site>([['chaos-node', { make: nodeSite, deployed: 0 }]]);
  if (hasPython) sites.set('chaos-python', { make: pythonSite, deployed: 0 });
  if (hasStreams) sites.set('chaos-stream', { make: streamSite, deployed: 0 });
  for (const [name, site] of sites) {
    site.make = withDir(site.make, notesDir);
    await stage.cli('deploy', stage.project(name, site.make({ name, code: 'c0', dir: notesDir })));
  }
  return sites;
}

const withDir =
  (make: Site['make'], dir: string): Site['make'] =>
  (site) =>
    make({ ...site, dir });

async function deployNext(stage: Stage, sites: ReadonlyMap<string, Site>, pick: number): Promise<void> {
  const [name, site] = [...sites][Math.floor(pick * sites.size)] ?? [];
  if (name === undefined || !site) return;
  await stage.tryCli('deploy', stage.project(name, site.make({ name, code: `c${++site.deployed}`, dir: '' })));
}

type Watch = { readonly stage: Stage; readonly crowd: Crowd; readonly endpoints: readonly string[]; readonly until: AbortSignal };

/** Looks at workers and counts again and again. */
async function watch({ stage, crowd, endpoints, until }: Watch): Promise<void> {
  while (!until.aborted) {
    for (const endpoint of endpoints) {
      const { acked: ackedBefore, cancels } = { ...tallyOf(crowd, endpoint) };
      const health = await ask(crowd, 'GET', `/v2/${endpoint}/health`);
      if (health?.status === 200) {
        const jobs = health.json['jobs'] as Record<string, number>;
        const sum = ['inQueue', 'inProgress', 'completed', 'failed'].reduce((all, name) => all + (jobs[name] ?? 0), 0);
        const after = tallyOf(crowd, endpoint);
        const counts = { sum, ackedBefore, submittedAfter: after.submitted, cancelsAfter: Math.max(cancels, after.cancels) };
        crowd.note({ kind: 'counted', at: now(), endpoint, ...counts });
      }
      const listed = await ask(crowd, 'GET', `/api/v1/endpoints/${endpoint}/workers`);
      if (listed?.status === 200)
        crowd.note({ kind: 'workers', at: now(), endpoint, ...countWorkers(stage, endpoint, listed.json['items']) });
    }
    await delay(1_000, undefined, { signal: until }).catch(() => {});
  }
}

/** While a release goes out, the candidate that proved the new one stands beside the old workers. */
function countWorkers(stage: Stage, endpoint: string, items: unknown): { counted: number; processes: number } {
  const workers = (items as { isCandidate: boolean; isStale: boolean }[]).filter(({ isCandidate }) => !isCandidate);
  const processes = workerProcesses(stage.dataDir).filter((one) => one.endpoint === endpoint);
  return {
    counted: workers.length - (workers.some(({ isStale }) => isStale) ? 1 : 0),
    processes: new Set(processes.map(({ worker }) => worker)).size,
  };
}

type Report = Pick<ChaosOptions, 'say'> & {
  readonly crowd: Crowd;
  readonly acts: ReadonlyMap<string, number>;
  readonly until: AbortSignal;
};

async function report({ say, crowd, acts, until }: Report): Promise<void> {
  const began = now();
  while (!until.aborted) {
    await delay(10_000, undefined, { signal: until }).catch(() => {});
    const acked = [...crowd.tally.values()].reduce((sum, one) => sum + one.acked, 0);
    const blows = [...acts].map(([act, count]) => `${act} ${count}`).join(', ');
    say(`${Math.round((now() - began) / 1_000)} s: ${acked} jobs acknowledged; ${blows}`);
  }
}

function readExecutions(notesDir: string): Observation[] {
  const files = readdirSync(notesDir).filter((name) => name.endsWith('.jsonl'));
  // A killed worker may leave half a line.
  return files.flatMap((name) =>
    readFileSync(join(notesDir, name), 'utf8')
      .split('\n')
      .flatMap((line) => {
        try {
          return [JSON.parse(line) as Observation];
        } catch {
          return [];
        }
      }),
  );
}

/** Uploads of killed pushes may be resumed for a day. That day passes here; what the next server then leaves is left behind for good. */
async function letUploadsExpire(stage: Stage): Promise<void> {
  const dir = join(stage.dataDir, 'registry/uploads');
  const names = readdirSync(dir);
  if (names.length === 0) return;
  const past = new Date(Date.now() - 2 * 86_400_000);
  for (const name of names) utimesSync(join(dir, name), past, past);
  await stage.restart();
  await until(() => readdirSync(dir).length === 0, 'expired uploads to be removed').catch(() => {});
  process.kill(stage.pid, 'SIGTERM');
  await stage.died();
}

async function takeSnapshot(run: Run, known: Pick<Snapshot, 'leaks' | 'settledAfterMs'>): Promise<Snapshot> {
  const { stage, history, notesDir } = run;
  const jobs = new Map<string, string>();
  for (const { id, endpoint } of ofKind(history, 'execution')) jobs.set(id, endpoint);
  for (const { id, endpoint } of ofKind(history, 'submitted')) if (id !== undefined) jobs.set(id, endpoint);
  const endpoints = await readEndpoints(stage, REST_MS);
  const names = endpoints.map(({ id }) => id);
  const rest = {
    jobs: await readJobs(
      stage,
      [...jobs].map(([id, endpoint]) => ({ id, endpoint })),
    ),
    workers: await readWorkers(stage, names),
    releases: await readReleases(stage, names),
  };
  for (const name of names) await stage.call(`/api/v1/endpoints/${name}`, { method: 'DELETE' });
  process.kill(stage.pid, 'SIGTERM');
  await stage.died();
  const tokens = readdirSync(notesDir).filter((name) => name.startsWith('token-'));
  const secrets: Secret[] = [
    { name: 'the admin key', value: stage.key, allowed: /^admin\.key$/ },
    { name: 'an environment value', value: CANARY, allowed: /^(wherry\.db|images\/|registry\/)/ },
    ...tokens.map((name) => ({
      name: name.replace('token-', 'the token of '),
      value: readFileSync(join(notesDir, name), 'utf8'),
      allowed: /^$/,
    })),
  ].filter(({ value }) => value !== '');
  await letUploadsExpire(stage);
  const leftovers = await findLeftovers(stage, LEAVE_MS);
  return {
    ...rest,
    endpoints,
    webhooksFailed: [],
    leftovers,
    settledAfterMs: known.settledAfterMs,
    leaks: [...known.leaks, ...findLeaks(stage, secrets)],
  };
}

function readFigures(history: readonly Observation[], snapshot: Snapshot, acts: ReadonlyMap<string, number>): Record<string, number> {
  const submitted = ofKind(history, 'submitted');
  const count = (status: string) => snapshot.jobs.filter((job) => job.status === status).length;
  const begun = ofKind(history, 'execution').filter(({ phase }) => phase === 'begins');
  const reruns = [...groupBy(begun, ({ id }) => id).values()].filter((runs) => runs.length > 1).length;
  const restarts = ofKind(history, 'restarted').map(({ tookMs }) => tookMs);
  return {
    acknowledged: submitted.filter(({ outcome }) => outcome === 'acked').length,
    'without an answer': submitted.filter(({ outcome }) => outcome === 'unknown').length,
    refused: submitted.filter(({ outcome }) => outcome === 'refused').length,
    completed: count('COMPLETED'),
    failed: count('FAILED'),
    cancelled: count('CANCELLED'),
    'timed out': count('TIMED_OUT'),
    lost: snapshot.jobs.filter(({ status }) => status === 'MISSING').length,
    'run again': reruns,
    ...Object.fromEntries(acts),
    restarts: restarts.length,
    'longest recovery ms': Math.round(Math.max(0, ...restarts)),
    'settled after ms': snapshot.settledAfterMs,
  };
}

/** Failures that are the platform's and not the handler's. */
function readReasons({ jobs }: Snapshot): Map<string, number> {
  const failed = jobs.filter(({ status, error }) => status === 'FAILED' && !JSON.stringify(error ?? '').includes('as asked, run'));
  return new Map([...groupBy(failed, ({ error }) => String(error).replace(/w-\w+/g, 'w-…'))].map(([why, same]) => [why, same.length]));
}

async function receiveWebhooks(note: (observation: Observation) => void): Promise<{ url: string; close: () => void }> {
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { id, status } = JSON.parse(Buffer.concat(parts).toString()) as { id: string; status: string };
      note({ kind: 'webhook', at: now(), id, status });
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/`, close: () => server.close() };
}
