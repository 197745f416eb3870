import { describe, expect, it } from 'vitest';
import { readJsonLines } from './json-lines.js';
import { createPullProgress } from './pull.js';

async function* chunks(...texts: readonly string[]): AsyncIterable<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

describe('createPullProgress', () => {
  it('sums what each layer has fetched', () => {
    const progress = createPullProgress();
    const downloading = (id: string, current: number, total: number) => ({
      status: 'Downloading',
      id,
      progressDetail: { current, total },
    });
    for (const event of [
      downloading('a', 1_048_576, 4_194_304),
      downloading('b', 524_288, 524_288),
      downloading('a', 2_097_152, 4_194_304),
    ])
      progress.take(event);
    progress.take({ status: 'Extracting', id: 'b', progressDetail: { current: 100, total: 524_288 } });
    expect(progress.bytes()).toBe(2_621_440);
    expect(progress.text()).toBe('2.5 MiB of 4.5 MiB, extracting');
    expect(progress.failure).toBeUndefined();
  });

  it('keeps the reason of a failure, at its begin or amid', () => {
    for (const event of [{ error: 'unauthorized' }, { message: 'unauthorized' }]) {
      const progress = createPullProgress();
      progress.take(event);
      expect(progress.failure).toBe('unauthorized');
    }
  });
});

describe('readJsonLines', () => {
  it('joins chunks, takes a last line without an end, leaves out what is no object', async () => {
    const values: unknown[] = [];
    for await (const value of readJsonLines(chunks('{"a":1}\n{"b', '":"é"}\nno json\n3\n', '{"c":3}'))) values.push(value);
    expect(values).toEqual([{ a: 1 }, { b: 'é' }, { c: 3 }]);
  });
});
