import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatTimeline, phasesOf, timelineOf, warmPhases } from './cold-start.js';

const JOB = { queuedAt: 1_000, claimedAt: 1_328, finishedAt: 1_400 };
const START = { path: 'spawn', preparedAt: 1_004, bytes: 0, isCached: true, madeAt: 1_005, startedAt: 1_014 } as const;
const WORKER = { createdAt: 1_002, readyAt: 1_324, start: START, thaws: null };

describe('the ledger of a cold start', () => {
  it('has each step after the submission, and is of cold jobs only (B8)', () => {
    const timeline = timelineOf(JOB, WORKER);
    expect(timeline).toMatchObject({ path: 'spawn', decide: 2, create: 5, start: 14, ready: 324, take: 328, done: 400 });
    expect(timeline?.pull).toEqual({ at: 4, bytes: 0, cached: true });
    expect(timelineOf(JOB, { ...WORKER, readyAt: 999 })).toBeUndefined();
    expect(timelineOf(JOB, { ...WORKER, readyAt: null })).toBeUndefined();
    expect(timelineOf({ ...JOB, claimedAt: null }, WORKER)).toBeUndefined();
    expect(timelineOf({ ...JOB, claimedAt: 1_000 }, { ...WORKER, readyAt: 1_001 })).toBeUndefined();
  });

  it('of a worker that was woken for the job is its thaw, and nothing of an earlier one', () => {
    const woken = { ...WORKER, createdAt: 10, readyAt: 20, thaws: '[[900,902,905],[1003,1005,1320]]' };
    const steps = { path: 'thaw', decide: 3, pull: null, create: null, start: 5, ready: 320, take: 328, done: 400 };
    expect(timelineOf(JOB, woken)).toMatchObject(steps);
    expect(timelineOf(JOB, { ...woken, thaws: '[[900,902,905]]' })).toBeUndefined();
    expect(timelineOf({ ...JOB, claimedAt: 1_310 }, woken)).toBeUndefined();
  });

  it('is one line of a log, with the bytes that were pulled', () => {
    const timeline = timelineOf(JOB, WORKER);
    const line = 'cold (spawn): decide 2 ms, pull 2 ms, create 1 ms, start 9 ms, ready 310 ms, take 4 ms; 328 ms in all';
    expect(timeline && formatTimeline(timeline)).toBe(line);
    const pulled = timelineOf(JOB, { ...WORKER, start: { ...START, isCached: false, bytes: 77 } });
    expect(pulled && formatTimeline(pulled)).toContain('pull 2 ms for 77 bytes');
    const unknown = timelineOf(JOB, { ...WORKER, start: null });
    expect(unknown && formatTimeline(unknown)).toBe('cold (unknown): decide 2 ms, ready 322 ms, take 4 ms; 328 ms in all');
  });

  it('has phases that follow each other from the submission to the end, whatever was before it', () => {
    const offsets = fc.array(fc.nat(500), { minLength: 7, maxLength: 7 });
    fc.assert(
      fc.property(offsets, fc.nat(400), (steps, before) => {
        const [createdAt = 0, preparedAt = 0, madeAt = 0, startedAt = 0, readyAt = 0, claimedAt = 0, finishedAt = 0] = steps.map(
          (_, index) => 1_000 - before + steps.slice(0, index + 1).reduce((sum, step) => sum + step, 0),
        );
        const timeline = timelineOf(
          { queuedAt: 1_000, claimedAt, finishedAt },
          { createdAt, readyAt, start: { ...START, preparedAt, madeAt, startedAt }, thaws: null },
        );
        fc.pre(timeline !== undefined);
        const phases = phasesOf(timeline);
        expect(phases[0]?.from).toBe(0);
        expect(phases.at(-1)).toMatchObject({ name: 'run', to: finishedAt - 1_000 });
        for (const [index, phase] of phases.entries()) if (index > 0) expect(phase.from).toBe(phases[index - 1]?.to);
      }),
    );
  });

  it('of a warm job is its wait and its run', () => {
    expect(warmPhases({ delayTime: 3, executionTime: 9 })).toEqual([
      { name: 'wait', from: 0, to: 3 },
      { name: 'run', from: 3, to: 12 },
    ]);
    expect(warmPhases({ delayTime: 3 })).toHaveLength(1);
    expect(warmPhases({})).toEqual([]);
  });
});
