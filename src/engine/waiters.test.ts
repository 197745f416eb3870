import { describe, expect, it } from 'vitest';
import { createWaiters } from './waiters.js';

const NEVER = new AbortController().signal;

describe('waiters', () => {
  it('gives the value to everyone who waits for the key', async () => {
    const waiters = createWaiters<number>();
    const both = [waiters.wait('a', 60_000, NEVER), waiters.wait('a', 60_000, NEVER)];
    waiters.notify('b', 1);
    waiters.notify('a', 2);
    expect(await Promise.all(both)).toEqual([2, 2]);
    expect(waiters.isAwaited('a')).toBe(false);
  });

  it('leaves nothing behind when a wait is given up: a server that stops does not wait for it', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    const waiters = createWaiters<number>();
    const wait = waiters.begin('a', 300_000, NEVER);
    expect(timers()).toBe(before + 1);
    wait.cancel();
    expect(await wait.value).toBeUndefined();
    expect(waiters.isAwaited('a')).toBe(false);
    expect(timers()).toBe(before);
  });

  it('ends at the signal and does not begin after it', async () => {
    const waiters = createWaiters<number>();
    const controller = new AbortController();
    const value = waiters.wait('a', 60_000, controller.signal);
    controller.abort();
    expect(await value).toBeUndefined();
    expect(await waiters.wait('a', 60_000, controller.signal)).toBeUndefined();
  });
});
