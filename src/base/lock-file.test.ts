import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { whenUnlocked, withLock } from './lock-file.js';

function lockFile(): string {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-lock-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, 'lock');
}

it('lets one step at a time run, and goes when a step fails', async () => {
  const file = lockFile();
  let inside = 0;
  const step = async (n: number) => {
    inside += 1;
    expect(inside).toBe(1);
    for (let turn = 0; turn < 5; turn++) await setImmediate();
    inside -= 1;
    if (n % 5 === 0) throw new Error('failed');
    return n;
  };
  const ended = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => withLock(file, () => step(n))));
  expect(ended.filter(({ status }) => status === 'fulfilled')).toHaveLength(16);
  expect(existsSync(file)).toBe(false);
});

it('waits for the step that is under way, and for none that begins later', async () => {
  const file = lockFile();
  await whenUnlocked(file);
  const order: string[] = [];
  const [begun, ending] = [deferred(), deferred()];
  const held = withLock(file, () => {
    begun.resolve();
    return ending.promise;
  });
  await begun.promise;
  const waiting = whenUnlocked(file).then(() => order.push('waited'));
  await setImmediate();
  order.push('ends');
  ending.resolve();
  await Promise.all([held, waiting]);
  expect(order).toEqual(['ends', 'waited']);
});

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

it('removes a lock that a process left when it died', async () => {
  const file = lockFile();
  writeFileSync(file, '');
  expect(await withLock(file, async () => 'done', 20)).toBe('done');
  expect(existsSync(file)).toBe(false);
  writeFileSync(file, '');
  await whenUnlocked(file, 20);
  expect(existsSync(file)).toBe(false);
});
