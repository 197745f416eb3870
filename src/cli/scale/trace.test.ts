import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parsePolicyChange, readPolicyOptions } from './policy.js';
import { completeTrace, readTraceFile } from './trace.js';

const dir = mkdtempSync(join(tmpdir(), 'wherry-trace-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function readText(name: string, text: string) {
  const file = join(dir, name);
  writeFileSync(file, text);
  return readTraceFile(file);
}

describe('a file of arrivals', () => {
  it('is CSV with a moment and a run time a line', async () => {
    const trace = await readText('a.csv', 'at,run\n0,300ms\n# a pause\n1.5\n\n1m30s,2\n');
    expect(trace.arrivals).toEqual([
      { at: 0, runMs: 300 },
      { at: 1_500, runMs: null },
      { at: 90_000, runMs: 2_000 },
    ]);
  });

  it('is JSON: moments, entries, or the jobs that `wherry jobs --json` prints', async () => {
    expect((await readText('b.json', '[0, "2s", {"at": 3, "run": "10ms"}]')).arrivals).toEqual([
      { at: 0, runMs: null },
      { at: 2_000, runMs: null },
      { at: 3_000, runMs: 10 },
    ]);
    const jobs = [
      { id: 'a', status: 'COMPLETED', submittedAt: '2026-01-01T00:00:01Z', executionTime: 40 },
      { id: 'b', status: 'CANCELLED', submittedAt: '2026-01-01T00:00:02Z' },
      { id: 'c', status: 'IN_QUEUE', submittedAt: '2026-01-01T00:00:00Z' },
    ];
    const recorded = await readText('c.json', JSON.stringify({ items: jobs }));
    expect(completeTrace(recorded, undefined)).toEqual([
      { at: 0, runMs: 40 },
      { at: 1_000, runMs: 40 },
    ]);
    expect(completeTrace(recorded, 7)[0]).toEqual({ at: 0, runMs: 7 });
  });

  it.each([
    ['d.csv', '0\nnoon\n', /d\.csv:2: moment 'noon' is not a duration/],
    ['e.json', '{"at": 1}', /holds no list/],
    ['f.json', '[{"run": 1}]', /entry 1/],
    ['g.json', '[1', /is not JSON/],
  ])('names what is wrong in %s', async (name, text, message) => {
    await expect(readText(name, text)).rejects.toThrow(message);
    await expect(readTraceFile(join(dir, 'none.csv'))).rejects.toMatchObject({ code: 'USAGE' });
  });
});

describe('settings to simulate', () => {
  it('are named as in wherry.yaml', () => {
    expect(parsePolicyChange('max=10, idle=1m30s,type=requestCount,value=0.5,extra=1,restAfter=3d,keep=none')).toEqual({
      max: 10,
      idleMs: 90_000,
      type: 'requestCount',
      value: 0.5,
      extra: 1,
      restAfterMs: 259_200_000,
      keep: 'none',
    });
    expect(readPolicyOptions({ min: '2', idle: '5s', restAfter: '0', limit: '9' })).toEqual({ min: 2, idleMs: 5_000, restAfterMs: 0 });
    expect(readPolicyOptions({})).toEqual({});
  });

  it.each(['maxi=1', 'max=-1', 'max=', 'type=fast', 'value=0', 'idle=soon', 'constructor=1'])(
    'are refused when they are like %s',
    (text) => {
      expect(() => parsePolicyChange(text)).toThrow(expect.objectContaining({ code: 'USAGE' }));
    },
  );
});
