import { existsSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { beforeEach, expect, it, onTestFinished } from 'vitest';
import { withLock } from './lock-file.js';
import { markUsed } from './use-mark.js';

let file: string;
let lockFile: string;
beforeEach(() => {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-use-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  [file, lockFile] = [join(dir, 'file'), join(dir, 'lock')];
  writeFileSync(file, '');
  utimesSync(file, 1, 1);
});

it('notes the use in the time of the file, and tells whether it is there', async () => {
  expect(await markUsed(file)).toBe(true);
  expect(Math.abs(statSync(file).mtimeMs - Date.now())).toBeLessThan(60_000);
  expect(await markUsed(`${file}/below`)).toBe(false);
  expect(await markUsed(join(file, '../absent'), lockFile)).toBe(false);
});

it('does not tell that a file is there which a removal under the lock had looked at before', async () => {
  const marked = await withLock(lockFile, async () => {
    const marking = markUsed(file, lockFile);
    while (statSync(file).mtimeMs === 1_000) await setImmediate();
    rmSync(file);
    return { marking };
  });
  expect(await marked.marking).toBe(false);
  expect(existsSync(file)).toBe(false);
});
