import { describe, expect, it } from 'vitest';
import { CRASH_BUDGET, createBackoff } from './backoff.js';
import { createPolls } from './polls.js';
import { outcomeOf } from './settle.js';

const never = new AbortController().signal;
const poll = (workerId: string, timeoutMs = 60_000) => ({ endpointId: 'e', workerId, timeoutMs, signal: never });

describe('polls', () => {
  it('wake the worker that waits longest, and remember a wake between look and wait', async () => {
    const polls = createPolls();
    const first = polls.begin(poll('a'));
    const second = polls.begin(poll('b'));
    expect(polls.wake('e')).toBe(true);
    expect(await first.woken).toEqual(new Set());
    expect(polls.isWaiting('b')).toBe(true);
    second.cancel();
    expect(await second.woken).toBeUndefined();
    expect(polls.wake('e')).toBe(false);
  });

  it('of no endpoint are ended by their worker alone', async () => {
    const polls = createPolls();
    const held = polls.begin({ ...poll('a'), endpointId: null });
    expect([polls.isWaiting('a'), polls.wake('e')]).toEqual([true, false]);
    polls.release('a');
    expect(await held.woken).toBeUndefined();
    expect(polls.isWaiting('a')).toBe(false);
  });

  it('skip workers that were tried for the job already', async () => {
    const polls = createPolls();
    const tried = polls.begin(poll('a'));
    const other = polls.begin(poll('b'));
    polls.wake('e', new Set(['a']));
    expect(await other.woken).toEqual(new Set(['a']));
    tried.cancel();
  });

  it('end when the time is over, the worker is released or its connection closes', async () => {
    const polls = createPolls();
    expect(await polls.begin(poll('a', 0)).woken).toBeUndefined();
    const released = polls.begin(poll('b'));
    polls.release('b');
    expect(await released.woken).toBeUndefined();
    const closed = new AbortController();
    const aborted = polls.begin({ ...poll('c'), signal: closed.signal });
    closed.abort();
    expect(await aborted.woken).toBeUndefined();
  });
});

const fleet = { endpointId: 'e', release: 1 };
const crash = { at: 0, jobIds: [], isQuarantined: false };

describe('backoff', () => {
  it('waits longer after each crash, pauses at the budget, and forgets after a success (row 76)', () => {
    const backoff = createBackoff();
    const delays = Array.from({ length: CRASH_BUDGET }, () => {
      const { isOverBudget } = backoff.recordCrash(fleet, crash);
      return [backoff.nextStartAt(fleet), isOverBudget];
    });
    expect(delays.map(([delay]) => delay)).toEqual([0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
    expect(delays.map(([, isOver]) => isOver)).toEqual([...Array(CRASH_BUDGET - 1).fill(false), true]);
    backoff.reset('e', 1);
    expect(backoff.nextStartAt(fleet)).toBe(0);
  });

  it('counts for each release apart, so that the success of one hides no crash of the other', () => {
    const backoff = createBackoff();
    for (const _crash of [1, 2]) backoff.recordCrash(fleet, crash);
    backoff.reset('e', 2);
    expect(backoff.recordCrash(fleet, crash)).toMatchObject({ crashes: 3, isReleaseToBlame: true });
    expect(backoff.nextStartAt({ endpointId: 'e', release: 2 })).toBe(0);
    backoff.reset('e');
    expect(backoff.recordCrash(fleet, crash)).toMatchObject({ crashes: 1 });
  });

  it('lets the queue move on when a job was set aside, and still knows the row', () => {
    const backoff = createBackoff();
    const by = (jobId: string, isQuarantined = false) => backoff.recordCrash(fleet, { at: 0, jobIds: [jobId], isQuarantined });
    by('a');
    by('a');
    expect(by('a', true)).toMatchObject({ isReleaseToBlame: false });
    expect(backoff.nextStartAt(fleet)).toBe(0);
    expect(by('b')).toMatchObject({ crashes: 4, isReleaseToBlame: true });
  });

  it('goes on with what a former server counted, its jobs too, and waits no longer than the longest pause', () => {
    const former = createBackoff();
    for (const jobId of ['a', 'b']) former.recordCrash(fleet, { at: 0, jobIds: [jobId], isQuarantined: false });
    expect(former.listReleases('e')).toEqual([1]);
    const kept = JSON.parse(JSON.stringify(former.loopOf(fleet)));
    expect(kept).toMatchObject({ crashes: 2, nextStartAt: 1_000 });
    const backoff = createBackoff();
    backoff.restore(fleet, { ...kept, nextStartAt: 900_000 }, 5_000);
    expect(backoff.nextStartAt(fleet)).toBe(65_000);
    expect(backoff.recordCrash(fleet, { at: 5_000, jobIds: ['a'], isQuarantined: false })).toMatchObject({
      crashes: 3,
      isReleaseToBlame: true,
    });
    backoff.reset('e', 1);
    expect(backoff.loopOf(fleet)).toBeUndefined();
    expect(backoff.listReleases('e')).toEqual([]);
  });
});

describe('outcomeOf', () => {
  it.each([
    [{ output: 1 }, { state: 'COMPLETED', output: '1', error: null }],
    [{ output: null }, { state: 'COMPLETED', output: 'null', error: null }],
    [{}, { state: 'COMPLETED', output: null, error: null }],
    [
      { error: '', output: 2 },
      { state: 'COMPLETED', output: '2', error: null },
    ],
    [{ error: { code: 5 } }, { state: 'FAILED', output: null, error: '{"code":5}' }],
    [
      { error: 'x', output: { a: 1 } },
      { state: 'FAILED', output: '{"a":1}', error: '"x"' },
    ],
  ])('reads %j as the protocol says (rows 24, 25)', (body, expected) => {
    expect(outcomeOf({ body, rawOutput: undefined })).toEqual(expected);
  });

  it('fails what is not a JSON object', () => {
    expect(outcomeOf({ body: undefined, rawOutput: undefined }).state).toBe('FAILED');
  });
});
