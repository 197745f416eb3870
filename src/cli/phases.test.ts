import { expect, it } from 'vitest';
import { createPhases } from './phases.js';

it('a step that takes long says that it still runs, and how far it noted to be', async () => {
  const told: string[] = [];
  let tellMore = () => {};
  const toldMore = new Promise<void>((resolve) => (tellMore = resolve));
  const talk = (text: string) => {
    told.push(text);
    tellMore();
  };
  const silent = () => {};
  const output = { isJson: false, isTalking: true, line: silent, result: silent, talk, warn: silent, error: silent };
  const phases = createPhases(output, { stillMs: 5 });
  const work = async (note: (text: string) => void) => {
    note('3 MiB sent');
    await toldMore;
    return 4;
  };
  await phases.run('push', work, (blobs) => `${blobs} blobs`);
  expect(told[0]).toMatch(/push +still running, 0 s · 3 MiB sent/);
  expect(told.at(-1)).toMatch(/push +4 blobs/);
  expect(phases.done).toEqual([{ name: 'push', ms: expect.any(Number) }]);
});
