import { describe, expect, it } from 'vitest';
import { explainWait, WAIT_REASONS, type WaitSample } from './waiting.js';

const NOW = 1_000_000;
const CALM: WaitSample = {
  priority: 'normal',
  queuedAt: NOW - 5_000,
  queued: 1,
  hasRelease: true,
  isProving: false,
  pausedReason: null,
  outage: null,
  max: 2,
  starting: 0,
  throttled: null,
  startingSince: null,
  busy: 0,
  idle: 1,
  thawing: 0,
  stopping: 0,
  pulling: 0,
  pinned: null,
  startingNote: null,
  nextStartAt: 0,
  crashes: 0,
  lastCrash: null,
};
const NONE = { idle: 0 } as const;
const END = { at: NOW - 300, reason: 'exited with code 3', isStarted: true, lines: ['loading', 'no such file'] };

describe('explainWait', () => {
  it.each([
    ['next', {}],
    ['paused', { ...NONE, pausedReason: 'paused by request', max: 0 }],
    ['no-release', { ...NONE, hasRelease: false }],
    ['parked', { ...NONE, max: 0 }],
    ['pinned', { ...NONE, pinned: { release: 3, workers: 0, busy: 0 } }],
    ['pinned', { busy: 2, pinned: { release: 3, workers: 1, busy: 1 } }],
    ['no-capacity', { ...NONE, outage: 'docker engine is away' }],
    ['next', { outage: 'docker engine is away' }],
    ['crash-looping', { ...NONE, nextStartAt: NOW + 700, crashes: 1, lastCrash: END }],
    ['crash-looping', { ...NONE, starting: 1, crashes: 2, lastCrash: END }],
    ['starting', { ...NONE, starting: 1, crashes: 1, lastCrash: END }],
    ['next', { crashes: 2, lastCrash: END }],
    ['no-capacity', { ...NONE, nextStartAt: NOW + 700, crashes: 1, lastCrash: { ...END, isStarted: false } }],
    ['no-capacity', { ...NONE, throttled: { count: 1, since: NOW - 50, lack: 'it needs 2 GiB, 1 GiB is free' } }],
    ['pulling', { ...NONE, starting: 1, pulling: 1, startingSince: NOW - 50 }],
    ['starting', { ...NONE, starting: 1, startingSince: NOW - 50 }],
    ['starting', { ...NONE, hasRelease: false, isProving: true, starting: 1, startingSince: NOW - 50 }],
    ['starting', { ...NONE, thawing: 1 }],
    ['starting', { ...NONE, thawing: 1, nextStartAt: NOW + 700, crashes: 2, lastCrash: END }],
    ['stopping', { ...NONE, stopping: 2 }],
    ['at-max-workers', { ...NONE, busy: 2, queued: 9 }],
    ['low-priority', { ...NONE, priority: 'low' }],
  ] as const)('says %s', (reason, change) => {
    const waiting = explainWait({ ...CALM, ...change }, NOW);
    expect(waiting.reason).toBe(reason);
    expect(waiting.evidence).not.toBe('');
    expect(waiting.next).not.toBe('');
  });

  it('shows the evidence of a crash loop: how the last worker ended, and when', () => {
    const waiting = explainWait({ ...CALM, ...NONE, nextStartAt: NOW + 700, crashes: 3, lastCrash: END }, NOW);
    const evidence = '3 workers in a row ended without finishing a job; the last worker: exited with code 3\n  loading\n  no such file';
    expect(waiting).toMatchObject({ since: END.at, evidence });
    expect(waiting.next).toContain('700 ms');
  });

  it('shows how far the image is', () => {
    const change = { ...NONE, starting: 1, pulling: 1, startingNote: 'pulling: 12 of 40 MiB' };
    expect(explainWait({ ...CALM, ...change }, NOW).evidence).toBe('1 worker starts and is not ready yet: pulling: 12 of 40 MiB');
  });

  it('names every reason it can give', () => {
    expect(new Set(WAIT_REASONS).size).toBe(WAIT_REASONS.length);
  });
});
