import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { until } from '../stage.js';
import { openTestRuns, type TestRuns } from './test-runs.js';

let runs: TestRuns;
beforeAll(() => {
  runs = openTestRuns();
});
afterAll(async () => {
  await runs.nothingLeft();
  runs.close();
});

const GREET = `
console.log('ready to greet');
export const handler = ({ input }) => (input.name ? \`Hello, \${input.name}!\` : { mode: process.env.MODE });
`;

describe('wherry test on a project, without a server, an account or Docker', () => {
  it('tests the file of the guide, fails what is wrong, and reports it in three formats (rows 106, 107, 111, B3, B4)', async () => {
    // Each spelling once right and once wrong; with hardware, without, and for GPUs that no machine here has.
    const hardwareConfig = {
      endpointConfig: { name: 'ci', gpuIds: 'AMPERE_16,AMPERE_24' },
      templateConfig: { env: [{ key: 'MODE', value: 'fast' }], containerDiskInGb: 10 },
    };
    const spelled = ['output', 'expectedOutput', 'expected_output'].flatMap((name) => [
      { name: `${name} right`, input: { name: 'Ada' }, [name]: 'Hello, Ada!' },
      { name: `${name} wrong`, input: { name: 'Bob' }, [name]: 'Hello, Ada!' },
    ]);
    const tests = [...spelled, { name: 'hardware', hardwareConfig, input: {}, output: { mode: 'fast' } }];
    const dir = runs.project('greet', { ...nodeProject('greet', GREET), '.github/tests.json': JSON.stringify(tests, null, 1) });
    const files = ['junit', 'json', 'md'].map((format) => [format, join(runs.dir, 'reports', `greet.${format}`)] as const);
    const { code, stdout, stderr } = await runs.run(dir, ...files.flatMap(([format, file]) => ['--report', `${format}=${file}`]));
    expect(code, stderr).toBe(1);
    expect(stdout).toMatch(
      /✗ output wrong {2}\.github\/tests\.json:\d+:2\n {4}OUTPUT_DIFFERS {2}the output is "Hello, Bob!", expected "Hello, Ada!"/,
    );
    expect(stdout).toContain('last lines of its worker:');
    expect(stdout).toContain('ready to greet');
    expect(stdout).toMatch(/4 passed, 3 failed in [\d.]+ s · greet is sha256:[0-9a-f]{64}/);
    expect(stderr).toContain("the server has no GPU: what asks for 'AMPERE_16,AMPERE_24' runs without");
    const [junit = '', json = '', md = ''] = files.map(([, file]) => readFileSync(file, 'utf8'));
    const read =
      'import sys, xml.etree.ElementTree as t; s = t.parse(sys.stdin).getroot()[0]; print(s.get("tests"), s.get("failures"), len(s.findall("testcase/failure")))';
    expect(execFileSync('python3', ['-c', read], { input: junit, encoding: 'utf8' }).trim()).toBe('7 3 3');
    expect(JSON.parse(json)).toMatchObject({ passed: 4, failed: 3, file: '.github/tests.json', digest: expect.stringMatching(/^sha256:/) });
    expect(md).toContain('### ❌ 3 failed, 4 passed');
    expect(md).toMatch(/\| ✅ \| hardware \| \d+ ms \| spawn: /);
    expect(md).toContain("> 'expectedOutput' is read as 'output', which is the canonical spelling");
  });

  it('reads the file of the hub, with time-outs in milliseconds, and passes (row 112)', async () => {
    const hardware = { gpuTypeId: 'NVIDIA L4', gpuCount: 2, cpuFlavor: 'cpu3g-4096-8', allowedCudaVersions: ['99.1', '99.2'] };
    const tests = [{ name: 'greets', input: { name: 'Ada' }, timeout: 30_000 }];
    const file = { tests, config: { ...hardware, env: [{ key: 'MODE', value: 'x' }] } };
    const dir = runs.project('hub', { ...nodeProject('hub', GREET), '.runpod/tests.json': JSON.stringify(file) });
    const { code, report, stderr } = await runs.report(dir);
    expect([code, report.file, report.passed, report.failed]).toEqual([0, '.runpod/tests.json', 1, 0]);
    for (const lack of ["2 of 'NVIDIA L4' runs without", 'asks for 4096 cores and 8 GiB', 'needs CUDA 99.1 or 99.2'])
      expect(stderr).toContain(lack);
  });

  it('tries the handler with test_input.json where there are no tests (row 114)', async () => {
    const dir = runs.project('smoke', { ...nodeProject('smoke', ECHO), 'test_input.json': '{"input": {"throw": "no weights"}}' });
    const { code, report } = await runs.report(dir);
    expect([code, report.results[0]?.failures]).toMatchObject([1, [{ code: 'JOB_FAILED', text: expect.stringContaining('no weights') }]]);
  });

  it('names the paths it looked at when there is no file, and places in a bad one; nothing is built (row 107)', async () => {
    const dir = runs.project('none', nodeProject('none', GREET));
    const missing = await runs.run(dir);
    expect(missing.code).toBe(4);
    expect(missing.stderr).toContain('there is no .github/tests.json, there is no .runpod/tests.json, there is no test_input.json');
    expect((await runs.run(dir, '--file', 'other.json')).stderr).toContain('there is no other.json');
    writeFileSync(join(dir, 'bad.json'), '[\n  {"input": 1, "expectedOuput": 2},\n  {"input": 1, "timeout": "soon"}\n]');
    const bad = await runs.run(dir, '--file', 'bad.json');
    expect([bad.code, bad.stderr]).toEqual([2, expect.stringContaining('bad.json:3:27')]);
    expect(bad.stderr).toContain("'timeout' should be written like 30s");
    writeFileSync(join(dir, 'typo.json'), '[\n  {"input": 1, "expectedOuput": 2}\n]');
    expect(await runs.run(dir, '-f', 'typo.json')).toMatchObject({ code: 2, stderr: expect.stringContaining('typo.json:2:16') });
    writeFileSync(join(dir, 'huge.json'), '');
    truncateSync(join(dir, 'huge.json'), 3 * 2 ** 30);
    expect((await runs.run(dir, '-f', 'huge.json')).stderr).toMatch(/CONFIG_INVALID {2}.*huge\.json' cannot be read: it has 3\.0 GiB/);
    execFileSync('mkfifo', [join(dir, 'pipe.json')]);
    expect((await runs.run(dir, '-f', 'pipe.json')).stderr).toContain("pipe.json' cannot be read: it is not a file");
    expect(existsSync(join(runs.dir, 'data/images/none'))).toBe(false);
  });

  it.each([
    [['--image', 'a', '--endpoint', 'b'], 'an image and an endpoint'],
    [['--parallel', 'many'], "--parallel 'many' is not a number"],
    [['--report', 'pdf=x'], "--report 'pdf=x' is no report"],
    [['--budget', 'long'], 'long'],
  ])('refuses %j', async (args, said) => {
    const { code, stderr } = await runs.run(...args);
    expect([code, stderr]).toEqual([2, expect.stringContaining(said)]);
  });

  it('runs ten tests of a handler that takes a millisecond (B4)', async () => {
    const tests = Array.from({ length: 10 }, (_, n) => ({ input: { sleepMs: 1, value: n }, output: n }));
    const dir = runs.project('ten', { ...nodeProject('ten', ECHO), '.github/tests.json': JSON.stringify(tests) });
    const { code, report } = await runs.report(dir);
    expect([code, report.passed]).toEqual([0, 10]);
  });
});

/** Answers once as many of them run at a time as there are tests. */
const TOGETHER = `
import { mkdirSync, readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
export async function handler({ input, id }) {
  mkdirSync(input.dir + '/' + id, { recursive: true });
  while (readdirSync(input.dir).length < 2) await delay(20);
  return 'together';
}
`;

it('runs as many tests at a time as the endpoint has workers, or as --parallel says, until the budget is used up (B3)', async () => {
  const tests = (name: string) =>
    ['one', 'two'].map((test) => ({ name: test, input: { dir: join(runs.dir, name) }, expect: { equals: 'together' } }));
  const settings = `scale: { max: 2, type: requestCount, value: 1 }\ntests: ${JSON.stringify(tests('both'))}\n`;
  const dir = runs.project('together', nodeProject('together', TOGETHER, settings));
  const both = await runs.report(dir);
  expect([both.code, both.report.passed], JSON.stringify(both.report.results)).toEqual([0, 2]);
  writeFileSync(join(dir, 'alone.json'), JSON.stringify(tests('alone').map(({ name, input }) => ({ name, input }))));
  const { code, report } = await runs.report(dir, '-f', 'alone.json', '--parallel', '1', '--budget', '3s');
  expect(code).toBe(1);
  expect(report.results.map(({ failures: [failure] }) => [failure?.code, failure?.text.slice(0, 60)])).toEqual([
    ['BUDGET_USED_UP', expect.stringContaining("the run's time was used up before the result came")],
    ['BUDGET_USED_UP', expect.stringContaining("the run's time was used up before the result came")],
  ]);
  expect(report.results[0]?.job?.status).toBe('CANCELLED');
});

describe('a run that ends early', () => {
  const hang = (name: string) =>
    runs.project(name, nodeProject(name, ECHO, 'tests: [{ name: hangs, input: { log: it hangs, sleepMs: 600000 } }]\n'));
  const working = () => until(() => runs.processes().length > 1, 'a worker to run');

  it.each(['SIGINT', 'SIGTERM'] as const)('by %s exits with 130 and leaves nothing (row 110)', async (signal) => {
    const run = runs.start(hang(`ends-${signal.toLowerCase()}`));
    await working();
    run.child.kill(signal);
    expect(await run.ended, run.said()).toBe(130);
    await runs.nothingLeft();
  });

  it('by SIGKILL is ended by the next run, of whichever project', async () => {
    const run = runs.start(hang('killed'));
    await working();
    run.child.kill('SIGKILL');
    await run.ended;
    expect(runs.processes().length).toBeGreaterThan(0);
    const dir = runs.project('next', nodeProject('next', ECHO, 'tests: [{ input: { value: 1 }, expect: { equals: 1 } }]\n'));
    expect((await runs.run(dir)).code).toBe(0);
    await runs.nothingLeft();
  });
});

it('--watch runs again when the handler or the tests change, until it is interrupted', async () => {
  const tests = (output: string) => JSON.stringify([{ input: { name: 'Ada' }, output }]);
  const dir = runs.project('watched', { ...nodeProject('watched', GREET), '.github/tests.json': tests('Hello, Ada!') });
  const run = runs.start(dir, '--watch');
  const results = (count: number) =>
    until(() => (run.said().match(/\d passed, \d failed/g)?.length === count ? run.said() : undefined), `${count} runs`);
  await results(1);
  writeFileSync(join(dir, '.github/tests.json'), tests('Salve, Ada!'));
  expect(await results(2)).toContain('0 passed, 1 failed');
  writeFileSync(join(dir, 'handler.mjs'), GREET.replace('Hello', 'Salve'));
  expect((await results(3)).match(/1 passed, 0 failed/g)).toHaveLength(2);
  run.child.kill('SIGINT');
  expect(await run.ended).toBe(130);
});
