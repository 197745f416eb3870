import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sendGraphql } from '../conformance/graphql-client.js';
import { listen } from '../contract/registry-server.js';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openStage, pidsWith, type Stage, until } from '../stage.js';
import { openTestRuns, type Running, type TestRuns } from './test-runs.js';

let stage: Stage;
let runs: TestRuns;
let killed: Running;
beforeAll(async () => {
  stage = await openStage();
  const image = 'echo:1.2';
  await stage.cli('push', stage.project('echo', nodeProject('echo', ECHO)), '--to', image);
  await stage.cli('deploy', '--image', image, '-e', 'standing');
  const auths = { [new URL(stage.url).host]: { auth: Buffer.from(`anyone:${stage.key}`).toString('base64') } };
  const DOCKER_CONFIG = stage.project('login', { 'config.json': JSON.stringify({ auths }) });
  runs = openTestRuns({ WHERRY_API_KEY: stage.key, DOCKER_CONFIG });
  killed = runs.start(runs.project('killed', nodeProject('killed', ECHO, HANGS)), '--api-url', stage.url, '--budget', '2m');
  await until(() => pidsWith('WHERRY_TEST_KILLED=1').length > 0, 'the worker of the run that is killed');
  killed.child.kill('SIGKILL');
});
afterAll(async () => {
  await runs.nothingLeft();
  runs.close();
  await stage.close();
});

const HANGS = 'env: { WHERRY_TEST_KILLED: "1" }\ntests: [{ input: { sleepMs: 600000 } }]\n';

interface Listed {
  readonly id: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly expiresAt: string | null;
}
const endpoints = async () => ((await stage.call('/api/v1/endpoints')).json as { items: Listed[] }).items;
const others = async () => (await endpoints()).filter(({ labels }) => labels['wherry-test'] !== undefined);
/** All but the one that stands and the one of the run that was killed. */
const made = async () => (await endpoints()).filter(({ id, labels }) => id !== 'standing' && labels['wherry-test'] === undefined);
const templates = async () => (await sendGraphql(stage, '{ podTemplates { id name } }')).json.data?.['podTemplates'];
const testsOf = (name: string, tests: readonly object[]) => runs.project(name, { '.github/tests.json': JSON.stringify(tests, null, 1) });
const TEST = { input: { value: 'Hello' }, output: 'Hello' };

describe('wherry test on a server that is there', () => {
  it('makes a throw-away endpoint with the label of the run, which would expire, and removes it (B4)', async () => {
    const dir = runs.project(
      'remote',
      nodeProject('remote', ECHO, `tests: [{ input: { sleepMs: 2000, value: 1 }, expect: { equals: 1 } }]\n`),
    );
    const before = (await others()).map(({ id }) => id);
    const run = runs.start(dir, '--api-url', stage.url);
    const own = await until(async () => (await others()).find(({ id }) => !before.includes(id)), 'its endpoint');
    expect(own.id).toBe(`test-${own.labels['wherry-test']}-1`);
    expect(Date.parse(own.expiresAt ?? '') - Date.now()).toBeLessThan(60_000);
    expect(await run.ended, run.said()).toBe(0);
    expect((await others()).map(({ id }) => id)).toEqual(before);
  });

  it('tests an endpoint as it is, and leaves it; jobs that are cancelled or time out end their tests at once', async () => {
    await stage.call('/api/v1/endpoints/standing', { method: 'PATCH', body: { settings: { limits: { executionMs: 1_500 } } } });
    const tests = [
      TEST,
      { name: 'too long', input: { sleepMs: 30_000 } },
      { name: 'cancelled', input: { log: 'cancel me', sleepMs: 31_000 } },
    ];
    const report = runs.report(testsOf('endpoint', tests), '--endpoint', 'standing', '--api-url', stage.url, '--parallel', '1');
    const running = async () => {
      const { items } = (await stage.call('/api/v1/endpoints/standing/jobs?state=IN_PROGRESS')).json as { items: { id: string }[] };
      const [job] = items;
      const lines = job
        ? ((await stage.call(`/api/v1/endpoints/standing/logs?job=${job.id}`)).json as { items: { text: string }[] }).items
        : [];
      return lines.some((line) => line.text === 'cancel me') ? job : undefined;
    };
    const { id } = await until(running, 'the job that is cancelled');
    await stage.call(`/v2/standing/cancel/${id}`, { method: 'POST' });
    const { code, report: found } = await report;
    expect([code, found.passed, found.subject]).toEqual([1, 1, 'standing']);
    expect(found.results.map(({ failures: [failure] }) => failure?.code)).toEqual([undefined, 'JOB_TIMED_OUT', 'JOB_CANCELLED']);
    expect((await endpoints()).map((endpoint) => endpoint.id)).toContain('standing');
  });

  it('says which tests do not test the image, and refuses them when it is strict', async () => {
    const saved = await sendGraphql(
      stage,
      'mutation { saveTemplate(input: {name: "theirs", imageName: "echo:1.2", dockerArgs: "", env: [{key: "MODE", value: "fast one"}]}) { id } }',
    );
    const template = saved.json.data?.['saveTemplate']?.['id'];
    const dir = testsOf('elsewhere', [
      { name: 'there', hardwareConfig: { endpoint: 'standing' }, ...TEST },
      { name: 'theirs', hardwareConfig: { template }, input: { env: 'MODE' }, output: 'fast one' },
      { name: 'none', hardwareConfig: { template: 'no-such' }, input: {} },
      { name: 'bare', ...TEST },
    ]);
    const args = [dir, '--image', 'echo:1.2', '--api-url', stage.url];
    const { report, stderr } = await runs.report(...args);
    expect(
      report.results.map(({ isPassed }) => isPassed),
      JSON.stringify(report.results),
    ).toEqual([true, true, false, true]);
    expect(report.results[2]?.failures).toMatchObject([
      { code: 'NO_ENDPOINT', text: expect.stringContaining("there is no template 'no-such'") },
    ]);
    const note = ".github/tests.json:2:2 'there' runs on the endpoint 'standing' of its hardwareConfig: it does not test the image";
    expect(report.notes).toContain(note);
    expect(stderr).toContain(note);
    expect(report.notes.join()).toContain(`the template '${template}'`);
    expect(await runs.run(...args, '--strict')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining(`error CONFIG_INVALID  ${note}`),
    });
    await sendGraphql(stage, 'mutation { deleteTemplate(templateName: "theirs") }');
    expect(await made()).toEqual([]);
  });

  it('resolves the tag of an image of any registry, prints the digest, and runs that on a server of its own (B4)', async () => {
    const { host } = new URL(stage.url);
    const { code, stdout } = await runs.run(testsOf('image', [TEST]), '--image', `${host}/echo:1.2`);
    const { digest } = JSON.parse(await stage.cli('releases', '-e', 'standing', '--json')).items[0].image as { digest: string };
    expect([code, stdout]).toEqual([0, expect.stringContaining(`${host}/echo:1.2 is ${digest}`)]);
  });
});

type Fault = (request: { readonly method: string; readonly path: string; readonly body: string }) => number | undefined;

/** The stage as a server that is not ours: only what RunPod has. `fault` answers in its place, with 0 by breaking the connection. */
async function openForeign(fault: Fault = () => undefined) {
  const seen: { readonly url: string; readonly body: string }[] = [];
  const server = await listen(async (request, response) => {
    const [url = '', method = 'GET'] = [request.url, request.method];
    const body = await text(request);
    seen.push({ url, body });
    const status = fault({ method, path: url.split('?')[0] ?? '', body });
    if (status === 0) return void response.destroy();
    if (status !== undefined || !/^\/(v2\/[^/]+\/|graphql)/.test(url)) return void response.writeHead(status ?? 404).end('{}');
    const headers = { authorization: String(request.headers.authorization), 'content-type': 'application/json' };
    const answer = await fetch(`${stage.url}${url}`, { method, headers, ...(body !== '' && { body }) });
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
  });
  return { url: `http://${server.host}`, seen, close: () => server.close() };
}

describe("wherry test on a server with RunPod's APIs only", () => {
  const image = () => `${new URL(stage.url).host}/echo:1.2`;

  it('says what it may cost, makes template and endpoint with the name of the run, and removes them whatever fails (rows 106, 110)', async () => {
    // Each kind of request is answered badly at first: one that was broken off, and one that was refused.
    const failed = new Map<string, number>();
    const foreign = await openForeign(({ path, body }) => {
      const what = /deleteEndpoint|deleteTemplate/.exec(body)?.[0] ?? /status-sync/.exec(path)?.[0];
      const times = failed.get(what ?? '') ?? 0;
      if (what === undefined || times === 2) return undefined;
      failed.set(what, times + 1);
      return times === 0 ? 0 : 503;
    });
    const hardwareConfig = {
      endpointConfig: { name: 'ci', gpuIds: 'AMPERE_16' },
      templateConfig: { env: [{ key: 'MODE', value: 'fast' }] },
    };
    const dir = testsOf('foreign', [TEST, { hardwareConfig, input: { env: 'MODE' }, output: 'fast' }, { input: { throw: 'on purpose' } }]);
    const { code, report, stderr } = await runs.report(dir, '--image', image(), '--api-url', foreign.url, '--registry-auth', 'ra1');
    await foreign.close();
    expect([code, report.passed, report.failed], stderr).toEqual([1, 2, 1]);
    expect(stderr).toContain(`3 tests start workers on 2 throw-away endpoints of ${foreign.url}, which may cost money`);
    expect(report.digest).toMatch(/^sha256:/);
    const sent = foreign.seen.filter(({ url }) => url === '/graphql').map(({ body }) => JSON.parse(body).variables.input ?? {});
    expect(sent[0]).toMatchObject({
      ...{
        containerRegistryAuthId: 'ra1',
        isServerless: true,
        imageName: `${image()}@${report.digest}`,
        name: `wherry test ${report.runId}-1`,
      },
    });
    expect(sent.map(({ name }) => name)).toContain(`ci ${report.runId}-2`);
    expect(sent.filter(({ workersMax }) => workersMax === 0)).not.toEqual([]);
    expect(foreign.seen.map(({ url }) => url).join()).not.toContain(stage.key);
    expect([...failed]).toEqual([
      ['status-sync', 2],
      ['deleteEndpoint', 2],
      ['deleteTemplate', 2],
    ]);
    expect([await made(), await templates()]).toEqual([[], []]);
  });

  it('sends a job again that was refused, and not one whose answer was lost: it might run twice (B4)', async () => {
    const faults = [0, 429, 502];
    const foreign = await openForeign(({ path }) => (path === '/v2/standing/run' ? faults.shift() : undefined));
    const dir = testsOf('lost', [TEST, TEST, TEST, TEST]);
    const { report } = await runs.report(dir, '--endpoint', 'standing', '--api-url', foreign.url, '--parallel', '1');
    await foreign.close();
    const lost = (why: string) => [
      { code: 'REQUEST_FAILED', text: expect.stringMatching(`^POST /v2/standing/run may have been done.*${why}`) },
    ];
    expect(report.results.map(({ failures }) => failures)).toEqual([lost('other side closed'), lost('502'), [], []]);
    expect(foreign.seen.filter(({ url }) => url === '/v2/standing/run')).toHaveLength(5);
  });

  it('removes them when it is interrupted, and when the endpoint cannot be made (row 110)', async () => {
    const foreign = await openForeign();
    const run = runs.start(testsOf('slow', [{ input: { sleepMs: 60_000 } }]), '--image', image(), '--api-url', foreign.url);
    await until(async () => (await made()).length > 0, 'its endpoint');
    run.child.kill('SIGTERM');
    expect(await run.ended, run.said()).toBe(130);
    const missing = await runs.report(testsOf('missing', [TEST]), '--image', `${new URL(stage.url).host}/none:1`, '--api-url', foreign.url);
    expect(missing.report.results[0]?.failures).toMatchObject([{ code: 'NO_ENDPOINT', text: expect.stringContaining('none:1') }]);
    expect(
      await runs.run(runs.project('whole', nodeProject('whole', ECHO, 'tests: [{ input: 1 }]\n')), '--api-url', foreign.url),
    ).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('it has no registry to push to'),
    });
    await foreign.close();
    expect([await made(), await templates()]).toEqual([[], []]);
  });
});

it('an endpoint of a run that was killed expires on the server by itself, and its workers end (B3)', async () => {
  await killed.ended;
  await until(async () => (await others()).length === 0, 'the endpoint to expire', 50_000);
  await until(() => pidsWith('WHERRY_TEST_KILLED=1').length === 0, 'its worker to end');
  expect(pidsWith(join(stage.dataDir, 'test'))).toEqual([]);
});
