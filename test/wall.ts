import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { needs } from './needs.js';
import { type Stage, until } from './stage.js';

/** Where Debian keeps the library that stands between a program and the wall clock. */
function findLibrary(): string | undefined {
  const root = '/usr/lib';
  const dirs = existsSync(root) ? readdirSync(root) : [];
  return dirs.map((dir) => join(root, dir, 'faketime', 'libfaketimeMT.so.1')).find((file) => existsSync(file));
}

/** Whether wall clocks can be set for one process (Debian: faketime); `faketime` in WHERRY_TEST_REQUIRE. */
export function needsWall(): boolean {
  return needs('faketime', () => findLibrary() !== undefined);
}

/** The clock of the processes that have its environment. */
export interface Wall {
  readonly env: NodeJS.ProcessEnv;
  /** Sets it so many seconds off the machine's. */
  set(offsetSeconds: number): void;
  close(): void;
}

/** Only the wall clock is set, as by an operator; with `isTime` also the monotonic one, as if so much time had passed. */
export function openWall({ isTime = false } = {}): Wall {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-wall-'));
  const file = join(dir, 'offset');
  const set = (offsetSeconds: number) => {
    // In one step: the library reads it at every look at the clock.
    writeFileSync(`${file}.new`, `${offsetSeconds < 0 ? '' : '+'}${offsetSeconds}\n`);
    renameSync(`${file}.new`, file);
  };
  set(0);
  return {
    env: {
      LD_PRELOAD: findLibrary(),
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      ...(!isTime && { FAKETIME_DONT_FAKE_MONOTONIC: '1' }),
    },
    set,
    close: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** Waits until the date of the server's answers is so many seconds off the machine's. */
export async function untilWall(stage: Stage, offsetSeconds: number): Promise<void> {
  await until(async () => {
    // A connection that was kept open may just have had its time.
    const answer = await stage.call('/api/v1/endpoints').catch(() => undefined);
    const offMs = Date.parse(answer?.headers.get('date') ?? '') - Date.now();
    return Math.abs(offMs / 1_000 - offsetSeconds) <= 3;
  }, 'the clock of the server to be set');
}
