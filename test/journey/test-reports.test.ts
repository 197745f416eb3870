import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApiClient } from '../../src/api/client.js';
import type { TestReport } from '../../src/api/resources.js';
import { openStage, type Stage } from '../stage.js';
import { nodeProject } from './projects.js';

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
});
afterAll(() => stage.close());

const path = (release: number | string, id = 'tested') => `/api/v1/endpoints/${id}/releases/${release}/report`;
const put = (release: number | string, body: unknown, id?: string) => stage.call(path(release, id), { method: 'PUT', body });
const report = (more: object = {}): TestReport => ({ passed: 3, failed: 0, at: '2026-01-31T12:00:00+01:00', ...more });

describe('the test report of a release', () => {
  it('is kept as it was given, shown with the release, and goes with the endpoint, also over a kill -9 (B5)', async () => {
    const client = createApiClient({ url: stage.url, key: stage.key });
    const dir = stage.project('tested', nodeProject('tested', 'export const handler = () => 1;\n'));
    await stage.cli('deploy', dir);
    const deploy = (mode: string) =>
      client.deploy('tested', { from: { endpointId: 'tested', number: 1 }, spec: { env: { MODE: mode } }, supersede: true });
    for (const mode of ['two', 'three']) expect((await deploy(mode)).release.tests).toBeNull();

    expect((await stage.call(path(1))).json).toMatchObject({ error: { code: 'REPORT_UNKNOWN' } });
    const first = report({ tests: [{ name: 'ü', output: { deep: [null, 1.5] } }], failed: 1, passed: 2 });
    expect(await client.putReport('tested', 1, first)).toEqual({ passed: 2, failed: 1, at: '2026-01-31T11:00:00.000Z' });
    await client.putReport('tested', 3, report({ failed: 7 }));
    await client.putReport('tested', 3, report());
    await stage.kill();
    await stage.restart();
    expect(await client.getReport('tested', 1)).toEqual(first);
    const listed = await client.listReleases('tested');
    expect(listed.map(({ number, tests }) => [number, tests?.passed, tests?.failed])).toEqual([
      [3, 3, 0],
      [2, undefined, undefined],
      [1, 2, 1],
    ]);
    expect((await client.listReleases('tested', { before: 2 })).map(({ tests }) => tests?.at)).toEqual(['2026-01-31T11:00:00.000Z']);

    const table = await stage.cli('releases', '-e', 'tested');
    expect(table).toMatch(/^r3 +\S+ +3 passed /m);
    expect(table).toMatch(/^r1 +\S+ +1 of 3 failed /m);
    expect(JSON.parse(await stage.cli('releases', '-e', 'tested', '--report', 'r1'))).toEqual(first);
    expect(JSON.parse(await stage.cli('releases', '-e', 'tested', '--report', '1', '--json'))).toEqual(first);

    await client.removeEndpoint('tested');
    expect((await stage.call(path(1))).json).toMatchObject({ error: { code: 'ENDPOINT_UNKNOWN' } });
    await stage.cli('deploy', dir);
    expect((await client.listReleases('tested')).map(({ number, tests }) => [number, tests])).toEqual([[1, null]]);
    expect((await stage.call(path(1))).json).toMatchObject({ error: { code: 'REPORT_UNKNOWN' } });
  });

  it('is refused when it is none, too large, of no release, or from a key that only reads', async () => {
    const refused = [{}, report({ passed: -1 }), report({ failed: 0.5 }), report({ passed: '3' }), report({ at: 'today' }), [], null];
    for (const body of refused) expect([body, (await put(1, body)).json]).toMatchObject([body, { error: { code: 'REQUEST_INVALID' } }]);
    const sized = (bytes: number) => report({ pad: 'x'.repeat(bytes - JSON.stringify(report({ pad: '' })).length) });
    expect((await put(1, sized(1024 * 1024))).status).toBe(200);
    expect(await put(1, sized(1024 * 1024 + 1))).toMatchObject({ status: 413, json: { error: { code: 'INPUT_TOO_LARGE' } } });
    expect((await put(9, report())).json).toMatchObject({ error: { code: 'RELEASE_UNKNOWN' } });
    expect((await put('x', report())).json).toMatchObject({ error: { code: 'REQUEST_INVALID' } });
    expect((await put(1, report(), 'nobody')).json).toMatchObject({ error: { code: 'ENDPOINT_UNKNOWN' } });
    const { key } = JSON.parse(await stage.cli('keys', 'create', 'reader', '--read-only', '--json')) as { key: string };
    expect((await stage.call(path(1), { method: 'PUT', key, body: report() })).status).toBe(403);
    expect((await stage.call(path(1), { key })).json).toMatchObject({ passed: 3, pad: expect.stringMatching(/^x+$/) });
  });
});

describe('wherry deploy --test', () => {
  const tests = (message: string) =>
    JSON.stringify([
      { input: { name: 'Ada' }, expect: { subset: { message } } },
      { input: {}, hardwareConfig: { endpointConfig: { workersMax: 1 } } },
    ]);
  const handler = (word: string) => `export const handler = ({ input }) => ({ message: \`${word}, \${input.name}!\`, at: Date.now() });\n`;
  const write = (word: string) =>
    stage.project('gated', { ...nodeProject('gated', handler(word)), '.github/tests.json': tests('Hello, Ada!') });
  const releases = async () =>
    JSON.parse(await stage.cli('releases', '-e', 'gated', '--json')).items as { number: number; tests: object }[];

  it('lets the candidate pass the tests before any job reaches it, and keeps the report with the release (B5)', async () => {
    const dir = write('Hello');
    const deployed = JSON.parse(await stage.cli('deploy', dir, '--test', '--json'));
    expect(deployed).toMatchObject({ rollout: { state: 'DONE' }, report: { passed: 2, failed: 0, subject: 'gated@r1' } });
    expect(deployed.report.notes).toEqual([expect.stringContaining('of 1 test(s) is not used: all run on the candidate')]);
    expect(await releases()).toMatchObject([{ number: 1, tests: { passed: 2, failed: 0 } }]);
  });

  it('does not switch when one fails: the release before serves on, the one that failed says why ever after (B5)', async () => {
    const dir = write('Bye');
    const refused = await stage.tryCli('deploy', dir, '--test');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('OUTPUT_DIFFERS /message is "Bye, Ada!", expected "Hello, Ada!"');
    expect((await stage.runsync('gated', { name: 'Ada' })).output).toMatchObject({ message: 'Hello, Ada!' });
    expect(await releases()).toMatchObject([
      { number: 2, tests: { passed: 1, failed: 1 } },
      { number: 1, tests: { passed: 2, failed: 0 } },
    ]);
    expect(await stage.cli('image', 'diff', 'gated@r1', 'gated@r2')).toMatch(
      /^tests: 2 passed, median execution \d+ ms → 1 of 2 failed, median execution \d+ ms$/m,
    );
    const kept = JSON.parse(await stage.cli('releases', '-e', 'gated', '--report', 'r2'));
    expect(kept.results[0]).toMatchObject({ failures: [{ code: 'OUTPUT_DIFFERS' }], job: { output: { message: 'Bye, Ada!' } } });
  });

  it('takes back a candidate that crashes while it is tested, and says so', async () => {
    const dir = stage.project('gated', nodeProject('gated', 'export const handler = () => process.exit(3);\n'));
    const refused = await stage.tryCli('deploy', dir, '--test');
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/taken back: worker \S+ of r3 exited with code 3/);
    expect((await releases())[0]).toMatchObject({ number: 3, tests: { passed: 0, failed: 2 } });
    expect((await stage.runsync('gated', { name: 'Bob' })).output).toMatchObject({ message: 'Hello, Bob!' });
  });

  it('refuses before it builds when the project has no tests, and names the files it looked for (row 107)', async () => {
    const dir = stage.project('untested', nodeProject('untested', handler('Hello')));
    const refused = await stage.tryCli('deploy', dir, '--test');
    expect(refused).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('there is no .github/tests.json, there is no .runpod/tests.json'),
    });
    expect((await stage.call('/api/v1/endpoints/untested')).status).toBe(404);
  });
});

describe('wherry test --baseline', () => {
  const write = (answer: string, more = '') =>
    stage.project('compared', {
      ...nodeProject('compared', `export const handler = ({ input }) => (${answer});\n${more}`),
      '.github/tests.json': JSON.stringify([{ input: { a: 1 } }, { input: { a: 2 } }]),
    });
  const run = async (...args: readonly string[]) => {
    const { code, stdout } = await stage.tryCli('test', write('{ sum: input.a + 1 }'), '--baseline', 'r1', '--json', ...args);
    return { code, report: JSON.parse(stdout) };
  };

  it('holds a project against an earlier release, with a verdict of its own (B3)', async () => {
    await stage.cli('deploy', write('{ sum: input.a + 1 }'));
    const { code, report } = await run('--allow', 'coldStart=100', '--allow', 'latency=100');
    expect([code, report.passed, report.failed]).toEqual([0, 3, 0]);
    expect(report.results.at(-1)).toMatchObject({ name: 'is no worse than compared@r1', isPassed: true });
  });

  it('fails when outputs change or the image grows, by more than is allowed', async () => {
    const noise = Array.from({ length: 3_000 }, () => Math.random().toString(36)).join('');
    const dir = write('{ sum: input.a + 2 }', `export const text = '${noise}';\n`);
    const args = ['--baseline', 'compared@r1', '--allow', 'coldStart=100', '--allow', 'latency=100', '--json'];
    const changed = await stage.tryCli('test', dir, ...args);
    expect(changed.code).toBe(1);
    const failures = JSON.parse(changed.stdout).results.at(-1).failures as { code: string; text: string }[];
    expect(failures.map(({ code }) => code)).toEqual(['OUTPUT_DIFFERS', 'OUTPUT_DIFFERS', 'IMAGE_TOO_LARGE']);
    expect(failures[0]?.text).toBe("'test 1' answers otherwise: /sum");
    const allowed = await stage.tryCli('test', dir, ...args, '--allow', 'output=1', '--allow', 'size=100');
    expect([allowed.code, JSON.parse(allowed.stdout).failed]).toEqual([0, 0]);
  });

  it('refuses a release that is not there, and a tolerance that is none', async () => {
    const dir = write('1');
    expect(await stage.tryCli('test', dir, '--baseline', 'r9')).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('RELEASE_UNKNOWN'),
    });
    expect(await stage.tryCli('test', dir, '--baseline', 'r1', '--allow', 'speed=1')).toMatchObject({ code: 2 });
    expect(await stage.tryCli('test', dir, '--baseline', 'latest')).toMatchObject({ code: 2 });
  });

  it('leaves only the endpoints that were there', async () => {
    const { items } = (await stage.call('/api/v1/endpoints')).json as { items: { id: string }[] };
    expect(items.filter(({ id }) => id.startsWith('test-'))).toEqual([]);
  });
});
