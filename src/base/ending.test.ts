import { expect, it, vi } from 'vitest';
import { Ender, toAbortSignal } from './ending.js';

it('calls who listens once, and nobody who does no more', () => {
  const ender = new Ender();
  const [stays, goes, late] = [vi.fn(), vi.fn(), vi.fn()];
  ender.addEventListener('abort', stays);
  ender.addEventListener('abort', goes);
  ender.removeEventListener('abort', goes);
  ender.removeEventListener('abort', late);
  expect(ender.aborted).toBe(false);
  ender.abort();
  ender.abort();
  ender.addEventListener('abort', late);
  expect([ender.aborted, stays.mock.calls.length, goes.mock.calls.length, late.mock.calls.length]).toEqual([true, 1, 0, 0]);
});

it('lets a listener take itself or another away while it is called', () => {
  const ender = new Ender();
  const second = vi.fn();
  ender.addEventListener('abort', () => ender.removeEventListener('abort', second));
  ender.addEventListener('abort', second);
  ender.abort();
  expect(second).toHaveBeenCalledTimes(1);
});

it('becomes an AbortSignal, before and after', () => {
  const ender = new Ender();
  const before = toAbortSignal(ender);
  expect(before.aborted).toBe(false);
  ender.abort();
  expect([before.aborted, toAbortSignal(ender).aborted]).toEqual([true, true]);
});
