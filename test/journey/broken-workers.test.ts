import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunReport, TestResult } from '../../src/check/result.js';
import { openTestRuns, type TestRuns } from '../cli/test-runs.js';
import { needs } from '../needs.js';
import { type ContainerStage, openContainerStage } from './containers.js';
import { nodeProject } from './projects.js';

/** What a worker can do wrong with a job, by the name of its test. */
const BROKEN = `
const wrongs = {
  wrong: () => ({ answer: 41 }),
  error: () => { throw new RangeError('no such name'); },
  hang: () => new Promise((resolve) => setTimeout(resolve, 600_000)),
  spin: () => { for (;;) {} },
  crash: () => { console.error('out of memory, nearly'); process.exit(5); },
  huge: () => 'x'.repeat(32 * 1024 * 1024),
  long: () => 'x'.repeat(2 * 1024 * 1024),
  none: () => ({ count: 10n }),
};
export const handler = ({ input }) => wrongs[input]();
`;

const verdictOf = ({ isPassed, failures: [failure], job, log }: TestResult) => ({
  isPassed,
  code: failure?.code,
  text: failure?.text ?? '',
  status: job?.status,
  log: log.join('\n'),
});
const only = ({ results: [result] }: RunReport) => verdictOf(result as TestResult);

describe('a broken worker gets its own verdict, and nothing of it remains', () => {
  let runs: TestRuns;
  beforeAll(() => {
    runs = openTestRuns();
  });
  afterAll(() => runs.close());

  it('when it is broken in its jobs: each test has its own, and a job that ends workers takes none with it, one that hangs is cancelled (row 108, B3)', async () => {
    const tests = ['wrong', 'error', 'crash', 'huge', 'long', 'none', 'hang', 'spin'].map((name) => ({
      ...{ name, input: name, expect: { equals: { answer: 42 } } },
      ...((name === 'hang' || name === 'spin') && { timeout: '2s' }),
    }));
    const settings = `scale: { max: 2, type: requestCount, value: 1 }\ntests: ${JSON.stringify(tests)}\n`;
    const dir = runs.project('broken', nodeProject('broken', BROKEN, settings));
    const { code, report, stderr } = await runs.report(dir);
    expect([code, report.passed, report.failed], stderr).toEqual([1, 0, 8]);
    const verdicts = Object.fromEntries(report.results.map((result) => [result.name, verdictOf(result)]));
    expect(verdicts).toMatchObject({
      wrong: { code: 'OUTPUT_DIFFERS', text: '/answer is 41, expected 42', status: 'COMPLETED' },
      error: { code: 'JOB_FAILED', text: expect.stringMatching(/^RangeError: no such name\n/), status: 'FAILED' },
      crash: {
        code: 'JOB_FAILED',
        text: expect.stringMatching(/^the worker exited with code 5; .*\(JOB_QUARANTINED\)[\s\S]*out of memory, nearly/),
        log: expect.stringContaining('stopped: exited with code 5'),
      },
      huge: { code: 'JOB_FAILED', text: 'the result is larger than 20971520 bytes' },
      long: {
        code: 'OUTPUT_DIFFERS',
        text: expect.stringMatching(/^the output is "x{199}… \(2097154 characters\), expected \{"answer":42\}$/),
      },
      none: { code: 'JOB_FAILED', text: expect.stringContaining("a bigint at 'count' is not JSON") },
      hang: { code: 'REQUEST_TIMEOUT', text: 'no result after 2 s: the job was IN_PROGRESS', status: 'CANCELLED' },
      spin: { code: 'REQUEST_TIMEOUT', text: 'no result after 2 s: the job was IN_PROGRESS', status: 'CANCELLED' },
    });
    await runs.nothingLeft();
  });

  const GOOD = 'export const handler = () => 1;\n';
  const ONE = 'tests: [{ name: one, input: {}, timeout: 50s }]\n';

  it.each([
    {
      what: 'crashes at its start',
      handler: "console.error('no licence');\nprocess.exit(4);\n",
      settings: ONE,
      verdict: {
        code: 'WORKERS_FAIL',
        text: expect.stringMatching(/exited with code 4\n\s+no licence$/),
        log: expect.stringContaining('no licence'),
      },
    },
    {
      what: 'is never ready',
      handler: `console.log('loading 90 GB');\nawait new Promise((resolve) => setTimeout(resolve, 600_000));\n${GOOD}`,
      settings: ONE.replace('50s', '2s'),
      verdict: {
        code: 'REQUEST_TIMEOUT',
        text: 'no result after 2 s: the job was IN_QUEUE, starting: 1 worker starts and is not ready yet',
        status: 'CANCELLED',
        log: expect.stringContaining('loading 90 GB'),
      },
    },
    {
      what: 'is not ready in its time',
      handler: `console.log('loading 90 GB');\nawait new Promise((resolve) => setTimeout(resolve, 600_000));\n${GOOD}`,
      settings: `limits: { init: 1s }\n${ONE}`,
      verdict: { code: 'WORKERS_FAIL', text: expect.stringContaining('not ready within 1 s (limits.init)') },
    },
  ])('when it $what (B3)', async ({ what, handler, settings, verdict }) => {
    const name = what.replaceAll(' ', '-');
    const { code, report } = await runs.report(runs.project(name, nodeProject(name, handler, settings)));
    expect([code, only(report)]).toMatchObject([1, verdict]);
    await runs.nothingLeft();
  });

  it('when it crashes again and again without a job: all tests end with the reason, in seconds (B3)', async () => {
    const flag = `${runs.dir}/flag`;
    const handler = `
import { existsSync, writeFileSync } from 'node:fs';
if (existsSync(process.env.FLAG)) { console.error('lost the GPU'); process.exit(7); }
export const handler = () => { writeFileSync(process.env.FLAG, ''); process.exit(7); };
`;
    const settings = `env: { FLAG: ${flag} }\nscale: { max: 1 }\ntests: [{ input: 1 }, { input: 2 }]\n`;
    const { report } = await runs.report(runs.project('loops', nodeProject('loops', handler, settings)), '--parallel', '2');
    for (const result of report.results)
      expect(verdictOf(result)).toMatchObject({ code: 'WORKERS_FAIL', text: expect.stringContaining('lost the GPU') });
    expect(report.tookMs).toBeLessThan(45_000);
    await runs.nothingLeft();
  });

  it('when there is none: the image is missing (B3)', async () => {
    runs.project('missing', { 'wherry.yaml': 'name: missing\ntests: [{ input: 1 }, { input: 2 }]\n' });
    const { code, report } = await runs.report('missing', '--image', 'missing/app:1.2');
    expect([code, report.failed]).toEqual([1, 2]);
    expect(only(report)).toMatchObject({ code: 'NO_ENDPOINT', text: expect.stringContaining("'missing/app:1.2'"), status: undefined });
    await runs.nothingLeft();
  });
});

describe.skipIf(!needs('dockerd'))('a broken container gets its own verdict, and nothing of it remains', () => {
  let opened: ContainerStage;
  let runs: TestRuns;
  beforeAll(async () => {
    opened = await openContainerStage();
    const { host, stage, engine } = opened;
    const auths = { [host]: { auth: Buffer.from(`anyone:${stage.key}`).toString('base64') } };
    const DOCKER_CONFIG = stage.project('login', { 'config.json': JSON.stringify({ auths }) });
    runs = openTestRuns({ WHERRY_RUNTIME: 'docker', WHERRY_DOCKER_HOST: engine.address, DOCKER_CONFIG });
  });
  afterAll(async () => {
    await opened.close();
    runs.close();
  });
  const nothingLeft = async () => {
    await runs.nothingLeft();
    expect(await opened.engine.docker('ps', '--all', '--quiet')).toBe('');
    expect(await opened.engine.docker('network', 'ls', '--quiet', '--filter', 'label=dev.wherry.instance')).toBe('');
  };

  it('when it crashes at its start (B3)', async () => {
    const dir = opened.project('crashes', "console.error('no licence');\nprocess.exit(4);\n", 'tests: [{ input: {}, timeout: 50s }]\n');
    const { code, report } = await runs.report(dir);
    expect([code, only(report)]).toMatchObject([
      1,
      { code: 'WORKERS_FAIL', text: expect.stringMatching(/exited with code 4\n\s+no licence/) },
    ]);
    await nothingLeft();
  });

  it('when its image is missing, or for another platform (B3)', async () => {
    runs.project('elsewhere', { 'wherry.yaml': 'name: elsewhere\ntests: [{ input: 1, timeout: 50s }]\n' });
    const missing = await runs.report('elsewhere', '--image', `${opened.host}/missing:1`);
    expect([missing.code, only(missing.report)]).toMatchObject([1, { code: 'NO_ENDPOINT', text: expect.stringContaining("/missing:1'") }]);
    // Only its description is for the other platform; that is what an engine and we go by.
    const head = Buffer.alloc(128);
    head.write('\u007fELF\u0002\u0001\u0001', 'latin1');
    head.writeUInt16LE(2, 16);
    head.writeUInt16LE(0xbeef, 18);
    const project = runs.project('foreign', {
      'wherry.yaml': 'name: foreign\ndockerfile: Dockerfile\nplatforms: [linux/s390x]\ntests: [{ input: 1, timeout: 50s }]\n',
      Dockerfile: 'FROM scratch\nCOPY --chmod=755 program /program\nCMD ["/program"]\n',
      program: head,
    });
    const foreign = await runs.report(project);
    expect([foreign.code, only(foreign.report)]).toMatchObject([
      1,
      { code: 'WORKERS_FAIL', text: expect.stringMatching(/the image is for linux\/s390x, this machine is linux\/\w+/) },
    ]);
    await nothingLeft();
  });
});
