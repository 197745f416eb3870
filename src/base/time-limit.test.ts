import { once } from 'node:events';
import { expect, it } from 'vitest';
import { withTimeLimit } from './time-limit.js';

const untilAborted = async (signal: AbortSignal): Promise<unknown> => {
  if (!signal.aborted) await once(signal, 'abort');
  return signal.reason;
};

it('work under a time limit is told of the end of its time, and of what ends it earlier', async () => {
  const stop = new AbortController();
  const stopped = withTimeLimit({ limitMs: 600_000, signal: stop.signal }, untilAborted);
  stop.abort('stopped');
  expect(await stopped).toBe('stopped');
  expect(await withTimeLimit({ limitMs: 600_000, signal: stop.signal }, untilAborted)).toBe('stopped');
  expect(await withTimeLimit({ limitMs: 1, signal: undefined }, untilAborted)).toMatchObject({ name: 'TimeoutError' });
});
