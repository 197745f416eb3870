import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from './endpoint.js';
import { describeHealth, formatAge, type HealthSample } from './health.js';

const NOW = 1_000_000;
const NOBODY = { THROTTLED: 0, INITIALIZING: 0, IDLE: 0, RUNNING: 0, FROZEN: 0, DRAINING: 0, UNHEALTHY: 0, STOPPED: 9 };
const CALM: HealthSample = {
  endpoint: { activeRelease: 18, pausedReason: null, settings: DEFAULT_SETTINGS },
  workers: NOBODY,
  inQueue: 0,
  oldestAt: null,
  crashLoop: null,
  rest: null,
  frozen: { workers: 0, bytes: 0, since: null },
  rollout: null,
};
const ROLLOUT = { to: 19, state: 'PROVING', share: 100, holdMs: null, provedAt: null } as const;
const with_ = (change: Partial<HealthSample['endpoint']>) => ({ endpoint: { ...CALM.endpoint, ...change } });

describe('the health of an endpoint in a sentence', () => {
  it.each<[string, Partial<HealthSample>]>([
    ['serving r18, no worker, nothing waiting', {}],
    [
      'serving r18, 2 busy, 2 frozen (85 MB held, the oldest for 7 min), nothing waiting',
      { workers: { ...NOBODY, RUNNING: 2, FROZEN: 2 }, frozen: { workers: 2, bytes: 85_400_000, since: NOW - 420_000 } },
    ],
    [
      'serving r18, 1 starting, 3 waiting, the oldest for 42 s',
      { workers: { ...NOBODY, INITIALIZING: 1 }, inQueue: 3, oldestAt: NOW - 42_000 },
    ],
    [
      'serving r18, 1 idle, r19 proves itself, nothing waiting',
      { workers: { ...NOBODY, IDLE: 1 }, rollout: { ...ROLLOUT, percentOnLatest: 0 } },
    ],
    [
      'serving r18, no worker, r19 canary, 10 % of new jobs, 33 % of workers, nothing waiting',
      { rollout: { ...ROLLOUT, state: 'CANARY', share: 10, percentOnLatest: 33 } },
    ],
    ['r18 crashes, 3 workers in a row, no worker, 1 waiting', { crashLoop: { crashes: 3 }, inQueue: 1 }],
    ['serving r18, no worker, nothing waiting', { crashLoop: { crashes: 1 } }],
    ['r18, no worker, 1 waiting, paused: paused by request', { ...with_({ pausedReason: 'paused by request\n  a line' }), inQueue: 1 }],
    ['no release serves, nothing waiting', with_({ activeRelease: null })],
    [
      'r18 is parked (max 0), no worker, nothing waiting',
      with_({ settings: { ...DEFAULT_SETTINGS, scale: { ...DEFAULT_SETTINGS.scale, max: 0 } } }),
    ],
    [
      'serving r18, no worker, min of 2 counts as 0: no request for 72 h, nothing waiting',
      { rest: 'min of 2 counts as 0: no request for 72 h' },
    ],
    ['serving r18, 1 without room, 1 waiting', { workers: { ...NOBODY, THROTTLED: 1 }, inQueue: 1 }],
  ])('%s', (sentence, change) => {
    expect(describeHealth({ ...CALM, ...change }, NOW)).toBe(sentence);
  });

  it('says ages as people do', () => {
    expect([0, 999, 1_000, 89_000, 90_000, 5_400_000].map(formatAge)).toEqual(['0 ms', '999 ms', '1 s', '89 s', '2 min', '2 h']);
  });
});
