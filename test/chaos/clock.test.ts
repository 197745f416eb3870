import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { needs } from '../needs.js';
import { openStage, type Stage, until } from '../stage.js';

/** The server's clock in the test's hands: libfaketime shifts what the server reads, while it runs. */
const LIBRARY = readdirSync('/usr/lib')
  .map((name) => `/usr/lib/${name}/faketime/libfaketimeMT.so.1`)
  .find(existsSync);
const HOUR_S = 3_600;

let stage: Stage;
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'wherry-clock-'));
});
afterEach(async () => {
  await stage.close();
  rmSync(dir, { recursive: true, force: true });
});

/** From now on the clock is that many seconds away from the machine's. */
function shift(seconds: number): void {
  writeFileSync(join(dir, 'shift'), `${seconds < 0 ? '' : '+'}${seconds}`);
}

async function open(isMonotonicShifted: boolean, project: Record<string, string>): Promise<void> {
  shift(0);
  stage = await openStage({
    LD_PRELOAD: LIBRARY ?? '',
    FAKETIME_TIMESTAMP_FILE: join(dir, 'shift'),
    FAKETIME_NO_CACHE: '1',
    FAKETIME_DONT_FAKE_MONOTONIC: isMonotonicShifted ? '0' : '1',
    DONT_FAKE_MONOTONIC: isMonotonicShifted ? '0' : '1',
  });
  await stage.cli('deploy', stage.project('clock', project));
}

async function serverNow(): Promise<number> {
  const { headers } = await stage.call('/v2/clock/health');
  return Date.parse(headers.get('date') ?? '');
}

describe.runIf(needs('faketime'))('a clock that is set', () => {
  const settings = 'scale: { max: 1, idle: 1h }\nlimits: { execution: 2m, ttl: 10m, retention: 5m }\n';

  it.each([HOUR_S, -HOUR_S, -10])(
    'by %i s under a running server ends nothing early and leaves nothing stuck (B5)',
    async (seconds) => {
      await open(false, nodeProject('clock', ECHO, settings));
      const kept = await stage.finished('clock', (await stage.submit('clock', { value: 'before' })).id);
      const running = await stage.submit('clock', { sleepMs: 3_000, value: 'ran' });
      await until(async () => (await stage.status('clock', running.id)).status === 'IN_PROGRESS', 'the job to run');
      const queued = await stage.submit('clock', { value: 'waited' });
      shift(seconds);
      await until(async () => Math.abs((await serverNow()) - Date.now() - seconds * 1_000) < 60_000, 'the server to read the other time');
      const later = await stage.submit('clock', { value: 'later' });
      const ends = await Promise.all([running, queued, later].map(({ id }) => stage.finished('clock', id)));
      expect(ends.map(({ status, output }) => [status, output])).toEqual([
        ['COMPLETED', 'ran'],
        ['COMPLETED', 'waited'],
        ['COMPLETED', 'later'],
      ]);
      for (const { delayTime = -1, executionTime = -1 } of ends) {
        expect(delayTime).toBeGreaterThanOrEqual(0);
        expect(delayTime).toBeLessThan(30_000);
        expect(executionTime).toBeGreaterThanOrEqual(0);
        expect(executionTime).toBeLessThan(30_000);
      }
      expect(await stage.status('clock', kept.id)).toMatchObject({ status: 'COMPLETED', output: 'before' });
    },
    60_000,
  );

  it('back by an hour between two servers keeps the order and the running job (B5)', async () => {
    await open(false, nodeProject('clock', ECHO, settings));
    const running = await stage.submit('clock', { sleepMs: 3_000, value: 'ran' });
    await until(async () => (await stage.status('clock', running.id)).status === 'IN_PROGRESS', 'the job to run');
    const file = join(dir, 'order');
    const earlier = await stage.submit('clock', { file });
    await stage.kill();
    shift(-HOUR_S);
    await stage.restart({ TZ: 'Pacific/Apia' });
    const later = await stage.submit('clock', { file, value: 'later' });
    const ends = await Promise.all([running, earlier, later].map(({ id }) => stage.finished('clock', id)));
    expect(ends.map(({ status }) => status)).toEqual(['COMPLETED', 'COMPLETED', 'COMPLETED']);
    for (const { delayTime = -1, executionTime = -1 } of ends) {
      expect(delayTime).toBeGreaterThanOrEqual(0);
      expect(executionTime).toBeGreaterThanOrEqual(0);
    }
    const { items } = (await stage.call('/api/v1/endpoints/clock/jobs')).json as { items: { id: string }[] };
    expect(items.map(({ id }) => id)).toEqual([later.id, earlier.id, running.id]);
  }, 60_000);
});

describe.runIf(needs('faketime'))('an endpoint that nobody asked for long', () => {
  it('answers the first request after a minute, a quarter, three quarters of an hour and a day, from no worker (E4)', async () => {
    await open(true, nodeProject('clock', ECHO, 'scale: { max: 1, idle: 1s }\n'));
    let at = 0;
    for (const seconds of [60, 15 * 60, 45 * 60, 24 * HOUR_S]) {
      const isEmpty = async () => ((await stage.call('/v2/clock/health')).json as { workers: { ready: number } }).workers.ready === 0;
      await until(isEmpty, 'no worker');
      at += seconds;
      shift(at);
      // The server closes what was idle so long; a client that comes back opens a new connection.
      await until(() => stage.call('/v2/clock/health').catch(() => undefined), 'a new connection');
      expect(await stage.runsync('clock', { value: seconds })).toMatchObject({ status: 'COMPLETED', output: seconds });
    }
  }, 90_000);
});
