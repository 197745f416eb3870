import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { openRegistryServer } from '../contract/registry-server.js';
import { type JobRun, type RunnerOptions, type StartedJob, startJob } from '../hosted-runner/workflow.js';
import { openStage, pidsWith, ROOT, runCli, type Stage, until } from '../stage.js';

const EXAMPLE = join(ROOT, 'examples/hello-python');
const WORKFLOW = readFileSync(join(EXAMPLE, '.github/workflows/test.yml'), 'utf8');
/** Says in its log what it was told, answers it, or hangs. */
const HANDLER = `
import os, time

def handler(job):
    print(job["input"].get("say", ""), flush=True)
    if "hang" in job["input"]:
        open(job["input"]["hang"], "w").close()
        time.sleep(600)
    return job["input"].get("value")
`;
const NO_NETWORK = 'unshare --map-root-user --net';

let dir: string;
let checkout: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'wherry-action-'));
  checkout = join(dir, 'checkout');
  // As a runner fetches an action: sources without a build. Packages are those of this checkout.
  for (const path of ['action', 'schema', 'scripts', 'sdk', 'src', 'package.json', 'package-lock.json'])
    cpSync(join(ROOT, path), join(checkout, path), { recursive: true });
  symlinkSync(join(ROOT, 'node_modules'), join(checkout, 'node_modules'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));

function workspace(files: Readonly<Record<string, string>>): string {
  const place = mkdtempSync(join(dir, 'workspace-'));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(place, path)), { recursive: true });
    writeFileSync(join(place, path), text);
  }
  return place;
}

const project = (tests: readonly object[]): string =>
  workspace({
    'wherry.yaml': 'name: tested\nhandler: handler.py:handler\nbase: scratch\nscale: { max: 1 }\n',
    'handler.py': HANDLER,
    '.github/tests.json': JSON.stringify(tests, null, 1),
  });

const start = (place: string, options: Partial<RunnerOptions> = {}): StartedJob =>
  startJob({
    workflow: WORKFLOW,
    workspace: place,
    checkout,
    dir: mkdtempSync(join(dir, 'runner-')),
    env: { WHERRY_RUNTIME: 'process' },
    ...options,
  });

/** A workflow with one use of the action. */
const using = (inputs: Readonly<Record<string, string>>): string =>
  stringify({ jobs: { test: { steps: [{ uses: 'actions/checkout@v4' }, { id: 'tests', uses: './action', with: inputs }] } } });

const ordersOf = ({ orders }: JobRun, wanted: string) => orders.filter(({ name }) => name === wanted);
const outputsOf = ({ steps }: JobRun) => steps['tests']?.outputs ?? {};

/** No file, no process: neither of the run nor of what it started. */
async function expectNothingLeft({ temp }: StartedJob): Promise<void> {
  expect(readdirSync(temp)).toEqual([]);
  await until(() => pidsWith(temp).length === 0, 'every process of the run to end');
}

describe('the action', () => {
  it('runs the example workflow green, without an account and without a network (rows 106, 109, 110, B3, B4)', async () => {
    const place = workspace({});
    cpSync(EXAMPLE, place, { recursive: true });
    // Where the system lets a process give its network up.
    const isCutOff = spawnSync('unshare', ['--map-root-user', '--net', 'true']).status === 0;
    const job = start(place, isCutOff ? { wrapper: `${NO_NETWORK} ${loopback()}` } : {});
    const run = await job.ended;
    expect([run.conclusion, run.lines]).toEqual([
      'success',
      expect.arrayContaining([expect.stringMatching(/^2 of 2 tests passed on sha256:[0-9a-f]{64}$/)]),
    ]);
    const { results, digest, ...counts } = outputsOf(run);
    expect(counts).toEqual({
      'total-tests': '2',
      started: '2',
      completed: '2',
      succeeded: '2',
      'output-provided': '2',
      'output-matched': '2',
    });
    expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(JSON.parse(results ?? '')).toMatchObject([{ status: 'COMPLETED', output: { message: 'Hello, Ada!' } }, { succeeded: true }]);
    expect(run.summary).toMatch(/### ✅ 2 passed[\s\S]*\| greets by name \| \d+ ms \| spawn: /);
    expect(readFileSync(join(place, 'reports/tests.xml'), 'utf8')).toContain('tests="2" failures="0"');
    const [notice] = ordersOf(run, 'notice');
    expect(notice?.text).toMatch(/^2 tests on 1 endpoint of run 4711-\w+, started on a server inside this runner: no account, no cost/);
    const told = run.lines.findIndex((line) => line.includes('no cost'));
    expect(told).toBeLessThan(run.lines.findIndex((line) => line.includes('push')));
    await expectNothingLeft(job);
  });

  it('tests an image of a registry in the server inside the runner, on the digest that its tag means (rows 106, B4)', async () => {
    const registry = await openRegistryServer();
    try {
      const tests = [{ input: { value: 'same' }, output: 'same' }];
      const target = `${registry.host}/tested:1`;
      const pushed = await runCli(['push', project(tests), '--to', target, '--data', mkdtempSync(join(dir, 'data-')), '--json']);
      expect(pushed.code, pushed.stderr).toBe(0);
      const { digest } = JSON.parse(pushed.stdout) as { readonly digest: string };
      const job = start(workspace({ '.github/tests.json': JSON.stringify(tests) }), { workflow: using({ 'image-tag': target }) });
      const run = await job.ended;
      expect([run.conclusion, run.lines]).toEqual(['success', expect.arrayContaining([`1 passed, 0 failed, image ${digest}`])]);
      expect(outputsOf(run)).toMatchObject({ succeeded: '1', 'output-matched': '1', digest });
      await expectNothingLeft(job);
    } finally {
      await registry.close();
    }
  });

  it('fails for a wrong output, at its line, with all outputs; what the worker printed is folded and no order (rows 106, 111, B3)', async () => {
    const forged = '::error::forged\n::add-mask::right\n##[error]forged';
    const place = project([
      { name: 'right', input: { value: 1 }, output: 1 },
      { name: 'wrong, 50%', input: { value: { text: 'right' }, say: forged }, output: { text: 'other' } },
    ]);
    const job = start(place);
    const run = await job.ended;
    expect(run.conclusion).toBe('failure');
    expect(ordersOf(run, 'error')).toEqual([
      {
        name: 'error',
        text: 'OUTPUT_DIFFERS /text is "right", expected "other"',
        properties: { file: '.github/tests.json', line: String(lineOf(place, '"name": "wrong')), col: '2', title: 'wrong, 50%' },
      },
    ]);
    expect(ordersOf(run, 'add-mask')).toEqual([]);
    expect(ordersOf(run, 'group').map(({ text }) => text)).toEqual(['Last lines of the worker of wrong, 50%']);
    expect(run.lines).toEqual(expect.arrayContaining(['::error::forged', expect.stringMatching(/^1 of 2 tests passed on sha256:/)]));
    expect(outputsOf(run)).toMatchObject({
      'total-tests': '2',
      started: '2',
      completed: '2',
      succeeded: '1',
      'output-provided': '2',
      'output-matched': '1',
    });
    expect(run.summary).toContain('❌ 1 failed, 1 passed');
    await expectNothingLeft(job);
  });

  it('says which test files it looked for, and starts nothing without them (row 107)', async () => {
    const place = project([]);
    rmSync(join(place, '.github'), { recursive: true });
    const job = start(place);
    const run = await job.ended;
    expect(run.conclusion).toBe('failure');
    const [error] = ordersOf(run, 'error');
    expect(error?.text).toMatch(/there is no \.github\/tests\.json, there is no \.runpod\/tests\.json.*\nfix: /);
    expect(error?.properties).toEqual({ title: 'NOT_FOUND' });
    expect(ordersOf(run, 'notice')).toEqual([]);
    expect(outputsOf(run)).toMatchObject({ results: '[]', 'total-tests': '0', succeeded: '0', digest: '' });
    await expectNothingLeft(job);
  });

  it('runs nothing that stands in an input', async () => {
    const place = project([{ input: {} }]);
    const mark = join(dir, 'hostile');
    const hostile = `a'"$(touch ${mark})\`touch ${mark}\`; touch ${mark}\n::error::forged\n\${{ secrets.KEY }}`;
    const names = [
      'image-tag',
      'project-dir',
      'test-filename',
      'api-url',
      'runpod-api-key',
      'container-registry-auth-id',
      'runtime',
      'report-paths',
    ];
    const workflow = using(Object.fromEntries(names.map((name) => [name, hostile])));
    const job = start(place, { workflow, secrets: { KEY: 'hidden' } });
    const run = await job.ended;
    expect(run.conclusion).toBe('failure');
    expect(existsSync(mark)).toBe(false);
    expect(ordersOf(run, 'error')).toMatchObject([{ properties: { title: 'USAGE' } }]);
    await expectNothingLeft(job);
  });

  it.each([
    ['ends by itself', { int: 30_000, term: 0 }],
    ['was killed at once', { int: 0, term: 0 }],
  ])('leaves nothing behind when the workflow is cancelled and the run %s (row 110)', async (_, patience) => {
    const mark = join(mkdtempSync(join(dir, 'hang-')), 'begun');
    const job = start(project([{ input: { hang: mark } }]));
    await until(() => existsSync(mark), 'the handler to hang');
    await job.cancel(patience);
    const { conclusion } = await job.ended;
    expect(conclusion).toBe('cancelled');
    await expectNothingLeft(job);
  });
});

describe('the action on another server', () => {
  let stage: Stage;
  let image: string;
  beforeAll(async () => {
    stage = await openStage();
    const pushed = await stage.cli('push', project([]), '--json');
    image = (JSON.parse(pushed) as { reference: string }).reference;
  });
  afterAll(() => stage?.close());

  const remote = (place: string, url = stage.url) => {
    const inputs = { 'image-tag': image, 'api-url': url, 'runpod-api-key': '${{ secrets.KEY }}', runtime: 'process' };
    return start(place, { workflow: using(inputs), secrets: { KEY: stage.key } });
  };
  const endpoints = async () => ((await stage.call('/api/v1/endpoints')).json as { items: readonly object[] }).items;

  it('tests an image there, says what it may cost, and never shows the key (rows 106, 110)', async () => {
    const job = remote(project([{ input: { value: 1, say: stage.key }, output: 2 }]));
    const run = await job.ended;
    expect(run.conclusion).toBe('failure');
    expect(ordersOf(run, 'notice')[0]?.text).toContain(`started on ${stage.url}, where workers may cost money`);
    expect(outputsOf(run)['digest']).toBe(image.split('@')[1]);
    expect(run.lines.join('\n')).toContain('***');
    expect(run.lines.join('\n')).not.toContain(stage.key);
    expect(await endpoints()).toEqual([]);
    await expectNothingLeft(job);
  });

  it.each(['a wherry', "one with RunPod's APIs only"])('removes what it made there, %s, when it was killed (row 110)', async (kind) => {
    const mark = join(mkdtempSync(join(dir, 'hang-')), 'begun');
    const foreign = kind === 'a wherry' ? undefined : await openForeign(stage);
    const job = remote(project([{ input: { hang: mark } }]), foreign?.url);
    try {
      await until(() => existsSync(mark), 'the handler to hang');
      expect(await endpoints()).toMatchObject([
        foreign ? { name: expect.stringMatching(/ 4711-/) } : { labels: { 'wherry-test': expect.stringMatching(/^4711-/) } },
      ]);
      await job.cancel({ int: 0, term: 0 });
      await job.ended;
    } finally {
      await foreign?.close();
    }
    expect(await endpoints()).toEqual([]);
    const { json } = await stage.call('/graphql', { method: 'POST', body: { query: '{ podTemplates { name } }' } });
    expect(json).toEqual({ data: { podTemplates: [] } });
    await expectNothingLeft(job);
  });
});

/** The server of a stage as if it were not ours: without `/api/v1`. */
async function openForeign(stage: Stage): Promise<{ readonly url: string; close(): Promise<void> }> {
  const server = createServer((incoming, answer) => {
    const { method = 'GET', url = '/', headers } = incoming;
    if (url.startsWith('/api/')) return void answer.writeHead(404).end('{}');
    const outgoing = request(`${stage.url}${url}`, { method, headers }, (back) =>
      back.pipe(answer.writeHead(back.statusCode ?? 500, back.headers)),
    );
    incoming.pipe(outgoing.on('error', () => answer.destroy()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A program that gives a new network its own address, and then is what it was called for. */
function loopback(): string {
  const file = join(dir, 'loopback');
  writeFileSync(file, '#!/bin/sh\nip link set lo up\nexec "$@"\n', { mode: 0o755 });
  return file;
}

function lineOf(place: string, text: string): number {
  const lines = readFileSync(join(place, '.github/tests.json'), 'utf8').split('\n');
  // The test begins where its object does.
  return lines.findIndex((line) => line.includes(text));
}
