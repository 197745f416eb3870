import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WORKER_STATES } from '../../src/domain/worker.js';
import { openStage, ROOT, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';
import { openReceiver } from './receiver.js';

/** What Prometheus sees: `GET /metrics`, and the dashboard that is made for it. */
interface Series {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

interface Scrape {
  /** By family: histograms have those of their `_bucket`, `_sum` and `_count` too. */
  readonly series: ReadonlyMap<string, readonly Series[]>;
  readonly types: ReadonlyMap<string, string>;
  /** The one value of a family with these labels. */
  value(name: string, labels?: Readonly<Record<string, string>>): number;
}

let stage: Stage;
let reading: string;
beforeAll(async () => {
  stage = await openStage({ WHERRY_WEBHOOK_ALLOW: '127.0.0.1' });
  await stage.cli(
    'deploy',
    stage.project('echo', nodeProject('echo', ECHO, 'scale: { max: 1, idle: 1s, keep: none }\nenv: { GREETING: hello }\n')),
  );
  reading = (await stage.cli('keys', 'create', 'prometheus', '--read-only')).trim();
});
afterAll(() => stage.close());

const get = (path: string, key?: string) => fetch(`${stage.url}${path}`, { headers: key ? { authorization: `Bearer ${key}` } : {} });

async function scrape(key = reading): Promise<Scrape> {
  const answer = await get('/metrics', key);
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  return parseScrape(await answer.text());
}

/** The text format (version 0.0.4), strictly: each family has its help and type before its series, and no series is there twice. */
function parseScrape(text: string): Scrape {
  const series = new Map<string, Series[]>();
  const types = new Map<string, string>();
  const seen = new Set<string>();
  for (const line of text.split('\n').filter((one) => one !== '')) {
    const [, keyword, family = '', rest = ''] = /^# (HELP|TYPE) (\w+) (.+)$/.exec(line) ?? [];
    if (keyword === 'TYPE') types.set(family, rest);
    if (line.startsWith('#')) continue;
    const found = /^(?<name>[a-zA-Z_:][\w:]*)(?:\{(?<labels>.*)\})? (?<value>\S+)$/.exec(line)?.groups;
    if (!found) throw new Error(`not a line of the format: ${line}`);
    const { name = '', labels: listed = '', value } = found;
    expect(
      [...types.keys()].some((known) => name === known || name.startsWith(`${known}_`)),
      line,
    ).toBe(true);
    const labels = Object.fromEntries([...listed.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, text]) => [label, text]));
    const id = `${name}${JSON.stringify(Object.entries(labels).sort())}`;
    expect(seen.has(id), id).toBe(false);
    seen.add(id);
    series.set(name, [...(series.get(name) ?? []), { labels: labels as Record<string, string>, value: Number(value) }]);
  }
  return {
    series,
    types,
    value: (name, labels = {}) => {
      const wanted = Object.entries(labels);
      const matching = (series.get(name) ?? []).filter((one) => wanted.every(([label, is]) => one.labels[label] === is));
      expect(matching.length, `series of ${name} with ${JSON.stringify(labels)}`).toBe(1);
      return matching[0]?.value ?? Number.NaN;
    },
  };
}

const ended = ({ value }: Scrape) =>
  ['COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT'].map((state) => value('wherry_jobs_ended_total', { endpoint: 'echo', state }));
const noWorker = () =>
  until(async () => ((await stage.call('/api/v1/endpoints/echo/workers')).json as { items: [] }).items.length === 0, 'no worker');

describe('metrics', () => {
  it('are for admin and read-only keys, and open to all only where the operator says so', async () => {
    const own = JSON.parse(await stage.cli('keys', 'create', 'own', '-e', 'echo', '--json')) as { key: string };
    expect((await get('/metrics')).status).toBe(401);
    expect((await get('/metrics', 'wh_wrong_key')).status).toBe(401);
    expect((await get('/metrics', own.key)).status).toBe(403);
    expect((await get('/metrics', stage.key)).status).toBe(200);
    expect((await get('/metrics', reading)).status).toBe(200);
    expect((await fetch(`${stage.url}/metrics`, { method: 'POST' })).status).toBe(405);
    await stage.kill();
    await stage.restart({ WHERRY_METRICS_OPEN: '1' });
    expect((await get('/metrics')).status).toBe(200);
    await stage.kill();
    await stage.restart();
    expect((await get('/metrics')).status).toBe(401);
  });

  it('come with a key that sees and changes nothing', async () => {
    const { id } = await stage.submit('echo', { value: 1 });
    await stage.finished('echo', id);
    const reads = ['/api/v1/status', '/api/v1/endpoints/echo/why', `/api/v1/jobs/${id}/why`, `/v2/echo/status/${id}`, '/v2/echo/health'];
    for (const path of reads) expect([path, (await get(path, reading)).status]).toEqual([path, 200]);
    const shown = await stage.call('/api/v1/endpoints/echo/releases', { key: reading });
    expect(shown.json).toMatchObject({ items: [{ spec: { env: { GREETING: '***' } } }] });
    for (const [method, path, status] of [
      ['POST', '/v2/echo/run', 401],
      ['POST', `/v2/echo/cancel/${id}`, 401],
      ['GET', `/v2/echo/status/${id}?ttl=1`, 401],
      ['GET', `/v2/echo/stream/${id}`, 401],
      ['PATCH', '/api/v1/endpoints/echo', 403],
      ['DELETE', '/api/v1/endpoints/echo', 403],
      ['GET', '/v2/', 401],
    ] as const) {
      const body = method === 'PATCH' || method === 'POST' ? { body: {} } : {};
      expect([path, (await stage.call(path, { method, key: reading, ...body })).status]).toEqual([path, status]);
    }
  });

  it('show requests, delay, execution, cold starts by path and the states of workers (row 103, row 82, B8)', async () => {
    await noWorker();
    const before = await scrape();
    const of = { endpoint: 'echo' };
    await stage.runsync('echo', { value: 1 });
    await stage.runsync('echo', { throw: 'no' });
    const long = await stage.submit('echo', { sleepMs: 2_000 });
    const waiting = await stage.submit('echo', {});
    await until(async () => (await stage.status('echo', long.id)).status === 'IN_PROGRESS', 'the job to run');
    const during = await scrape();
    expect(during.value('wherry_queue_jobs', of)).toBe(1);
    expect(during.value('wherry_queue_oldest_age_seconds', of)).toBeGreaterThan(0);
    expect(during.value('wherry_jobs_in_progress', of)).toBe(1);
    const states = during.series.get('wherry_workers')?.map(({ labels }) => labels['state']);
    expect(states).toEqual([...WORKER_STATES]);
    expect(during.value('wherry_workers', { state: 'RUNNING' })).toBe(1);
    await stage.call('/v2/echo/purge-queue', { method: 'POST' });
    await stage.finished('echo', waiting.id);
    await stage.finished('echo', long.id);
    await noWorker();

    const after = await scrape();
    const grown = (name: string, labels = {}) => after.value(name, { ...of, ...labels }) - before.value(name, { ...of, ...labels });
    expect(ended(after).map((count, index) => count - (ended(before)[index] ?? 0))).toEqual([2, 1, 1, 0]);
    expect(grown('wherry_jobs_submitted_total')).toBe(4);
    expect(grown('wherry_job_delay_seconds_count')).toBe(3);
    expect(grown('wherry_job_execution_seconds_count')).toBe(3);
    expect(grown('wherry_job_execution_seconds_sum')).toBeGreaterThan(2);
    expect(after.value('wherry_jobs_cold_total', { path: 'spawn' })).toBeGreaterThanOrEqual(1);
    expect(grown('wherry_worker_starts_total', { cause: 'scale' })).toBe(1);
    expect(grown('wherry_worker_ends_total', { cause: 'stopped' })).toBe(1);
    expect(after.value('wherry_cold_start_seconds_count', { path: 'spawn' })).toBe(
      after.value('wherry_worker_starts_total', { cause: 'scale' }),
    );
    const buckets = after.series.get('wherry_cold_start_seconds_bucket') ?? [];
    expect(buckets.map(({ value }) => value)).toEqual(buckets.map(({ value }) => value).toSorted((a, b) => a - b));
    expect(after.value('wherry_endpoint_release', of)).toBe(1);
    expect(after.value('wherry_registry_bytes')).toBeGreaterThan(0);
    expect(after.value('wherry_http_requests_total', { route: 'runsync', status: '200' })).toBeGreaterThanOrEqual(2);
    expect(after.value('nodejs_eventloop_lag_p99_seconds')).toBeGreaterThan(0);
  });

  it('go on after a restart with what the store knows', async () => {
    const before = await scrape();
    await stage.kill();
    await stage.restart();
    const after = await scrape();
    expect(ended(after)).toEqual(ended(before));
    const submitted = (one: Scrape) => one.value('wherry_jobs_submitted_total', { endpoint: 'echo' });
    expect(submitted(after)).toBe(submitted(before));
    expect(after.value('wherry_job_delay_seconds_count')).toBe(0);
  });

  it('count webhooks by outcome, and lose the series of an endpoint with it', async () => {
    const receiver = await openReceiver();
    try {
      await stage.cli('deploy', stage.project('gone', nodeProject('gone', ECHO, 'scale: { max: 1, idle: 1s }\n')));
      await stage.runsync('gone', {}, { webhook: `${receiver.url}/hook` });
      await until(async () => ((await scrape()).series.get('wherry_webhook_tries_total') ?? []).length > 0, 'the try to be counted');
      expect((await scrape()).value('wherry_webhook_tries_total', { endpoint: 'gone', outcome: 'delivered' })).toBe(1);
      await stage.call('/api/v1/endpoints/gone', { method: 'DELETE' });
      const { series } = await scrape();
      const left = [...series].filter(([, list]) => list.some(({ labels }) => labels['endpoint'] === 'gone')).map(([name]) => name);
      expect(left).toEqual([]);
    } finally {
      await receiver.close();
    }
  });

  it('have what each query of the dashboard asks for (row 103)', async () => {
    await stage.runsync('echo', {});
    const { types, series } = await scrape();
    const dashboard = JSON.parse(readFileSync(join(ROOT, 'docs/grafana/wherry.json'), 'utf8')) as Dashboard;
    const queries = [
      ...dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
      ...dashboard.annotations.list.map(({ expr }) => expr),
    ];
    expect(queries.length).toBeGreaterThan(30);
    for (const query of queries) {
      const names = [...query.matchAll(/\b(?:wherry|nodejs|process)_\w+/g)].map(([name]) => name);
      expect(names.length, query).toBeGreaterThan(0);
      for (const name of names) {
        const family = types.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '');
        expect(types.get(family), `${name} of ${query}`).toBe(family === name ? types.get(name) : 'histogram');
        // Counters grow: as they are they say nothing.
        if (types.get(family) !== 'gauge') expect(query).toMatch(new RegExp(`(rate|increase)\\(${name}`));
      }
      expect(query, 'brackets').toSatisfy(isBalanced);
      for (const label of labelsOf(query)) expect(knownLabels(names, series), `${label} of ${query}`).toContain(label);
    }
    const shown = new Set(
      queries.flatMap((query) => [...query.matchAll(/\bwherry_\w+/g)].map(([name]) => name.replace(/_(bucket|sum|count)$/, ''))),
    );
    const exposed = exposedFamilies(types);
    const unshown = exposed.filter((name) => !shown.has(name));
    expect(unshown.toSorted()).toEqual(['wherry_build_info', 'wherry_registry_blobs', 'wherry_registry_pull_seconds']);
  });
});

const exposedFamilies = (types: Scrape['types']) => [...types.keys()].filter((name) => name.startsWith('wherry_'));

it('are each explained in docs/operate.md', async () => {
  const [, section = ''] = /\*\*Metrics\.\*\*([\s\S]*?)\n## /.exec(readFileSync(join(ROOT, 'docs/operate.md'), 'utf8')) ?? [];
  const rows = section.split('\n').filter((line) => line.startsWith('| `'));
  const explained = rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`(\w+)`/g)].map(([, name = '']) => `wherry_${name}`));
  expect(explained.toSorted()).toEqual(exposedFamilies((await scrape()).types).toSorted());
});

interface Dashboard {
  readonly panels: readonly { readonly targets?: readonly { readonly expr: string }[] }[];
  readonly annotations: { readonly list: readonly { readonly expr: string }[] };
}

function isBalanced(query: string): boolean {
  const count = (characters: string) => [...query].filter((one) => characters.includes(one)).length;
  return count('(') === count(')') && count('{') === count('}') && count('[') === count(']') && count('"') % 2 === 0;
}

/** Labels that a query selects or groups by. */
function labelsOf(query: string): string[] {
  const grouped = [...query.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(',').map((label) => label.trim()));
  const selected = [...query.matchAll(/(\w+)(?:=~|!=|!~|=)"/g)].map(([, label = '']) => label);
  return [...grouped, ...selected];
}

/** The labels of the series that are there; families of rare events have none yet. */
function knownLabels(names: readonly string[], series: Scrape['series']): readonly string[] {
  const found = names.flatMap((name) => series.get(name) ?? []);
  return found.length === 0 ? ['endpoint', 'outcome', 'path', 'le', 'route', 'status'] : found.flatMap(({ labels }) => Object.keys(labels));
}
