import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FAILURES, type JobOutcome, judgeOutcome } from './judge.js';
import type { Expectation } from './suite.js';

const COMPLETED: JobOutcome = { status: 'COMPLETED', output: null, error: '', delayMs: 20, executionMs: 5, chunks: [] };

async function judge(expectation: Expectation, outcome: Partial<JobOutcome>, said?: string): Promise<readonly string[]> {
  const found = await judgeOutcome([expectation], { ...COMPLETED, ...outcome }, async () => said);
  return found.map(({ code, text }) => `${code} ${text}`);
}

const EQUALS = { kind: 'equals', at: '', value: { message: 'Hello, Ada!' }, tolerance: 0 } as const;

describe('a wrong output fails (B3)', () => {
  it('with the place, what is there and what was expected', async () => {
    expect(await judge(EQUALS, { output: { message: 'Hello, Bob!' } })).toEqual([
      'OUTPUT_DIFFERS /message is "Hello, Bob!", expected "Hello, Ada!"',
    ]);
    expect(await judge(EQUALS, { output: { message: 'Hello, Ada!' } })).toEqual([]);
    expect(await judge(EQUALS, { output: { message: 'Hello, Ada!', more: 1 } })).toEqual(['OUTPUT_DIFFERS /more is not expected: 1']);
    expect(await judge(EQUALS, { output: {} })).toEqual(['OUTPUT_DIFFERS /message is missing, expected "Hello, Ada!"']);
  });

  it('also below a pointer, where nothing is a failure of its own', async () => {
    const at = { ...EQUALS, at: '/list/0', value: 1 };
    expect(await judge(at, { output: { list: [1] } })).toEqual([]);
    expect(await judge(at, { output: { list: [2] } })).toEqual(['OUTPUT_DIFFERS /list/0 is 2, expected 1']);
    expect(await judge(at, { output: {} })).toEqual(["OUTPUT_DIFFERS the output has nothing at '/list/0'"]);
  });

  it.each<[Expectation, unknown, unknown]>([
    [{ kind: 'subset', at: '', value: { a: 0.5 }, tolerance: 0.1 }, { a: 0.55, b: 1 }, { a: 0.7 }],
    [{ kind: 'contains', at: '', value: 'Ada' }, 'Hello, Ada!', 'Hello'],
    [{ kind: 'contains', at: '', value: { a: 1 } }, [0, { a: 1 }], [{ a: 2 }]],
    [{ kind: 'contains', at: '', value: 'a' }, { a: 1 }, { b: 1 }],
    [{ kind: 'regex', at: '', pattern: '^H\\p{L}+' }, 'Hällo', 'hello'],
    [{ kind: 'regex', at: '', pattern: '"a":1' }, { a: 1 }, { a: 2 }],
    [{ kind: 'schema', at: '', schema: { type: 'object', required: ['a'] } }, { a: 1 }, {}],
    [{ kind: 'size', limitBytes: 4 }, 1234, 12345],
  ])('by %j', async (expectation, right, wrong) => {
    expect(await judge(expectation, { output: right })).toEqual([]);
    expect(await judge(expectation, { output: wrong })).toHaveLength(1);
  });
});

describe('a failed job', () => {
  const failed = { status: 'FAILED', error: 'ValueError: no name' } as const;

  it('fails its test with its own words', async () => {
    expect(await judge(EQUALS, failed)).toEqual(['JOB_FAILED ValueError: no name']);
  });

  it('is what a test may expect, by a pattern', async () => {
    expect(await judge({ kind: 'error', pattern: '^ValueError' }, failed)).toEqual([]);
    expect(await judge({ kind: 'error', pattern: 'KeyError' }, failed)).toEqual([
      'ERROR_DIFFERS its error does not match /KeyError/: ValueError: no name',
    ]);
    expect(await judge({ kind: 'error', pattern: '' }, {})).toEqual(['ERROR_MISSING the job completed, and an error was expected']);
  });
});

describe('budgets', () => {
  it('hold execution and the wait for a worker', async () => {
    expect(await judge({ kind: 'latency', limitMs: 5 }, {})).toEqual([]);
    expect(await judge({ kind: 'latency', limitMs: 4 }, {})).toEqual(['TOO_SLOW it ran 5 ms, and 4 ms were allowed']);
    expect(await judge({ kind: 'coldStart', limitMs: 19 }, {})).toEqual([
      'COLD_START_TOO_SLOW it waited for a worker 20 ms, and 19 ms were allowed',
    ]);
  });

  it('fail when the server does not say how long it took', async () => {
    expect(await judge({ kind: 'latency', limitMs: 4 }, { executionMs: undefined })).toHaveLength(1);
  });
});

it('compares all chunks of a stream, in order', async () => {
  const stream: Expectation = { kind: 'stream', value: [1, 2], tolerance: 0 };
  expect(await judge(stream, { chunks: [1, 2] })).toEqual([]);
  expect(await judge(stream, { chunks: [2, 1] })).toHaveLength(1);
});

it('asks a command, and tells what it said', async () => {
  const command: Expectation = { kind: 'command', command: './check' };
  expect(await judge(command, { output: 1 })).toEqual([]);
  expect(await judge(command, { output: 1 }, 'exited with 1: too dark')).toEqual(["COMMAND_FAILED './check' exited with 1: too dark"]);
});

it('has a row in docs/testing.md for each code', () => {
  const page = readFileSync(new URL('../../docs/testing.md', import.meta.url), 'utf8');
  expect(FAILURES.filter((code) => !page.includes(`\`${code}\``))).toEqual([]);
});
