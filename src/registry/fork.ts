import { once } from 'node:events';
import { PassThrough, type Readable } from 'node:stream';

/**
 * Two readers of one source. The slower one sets the pace; one that leaves does not hold up the other, and when both have
 * left the source is closed. The last part is held back until the source has ended well, so that neither reader takes
 * bytes for whole that the source then finds wrong.
 */
export function fork(source: AsyncIterable<Uint8Array>): readonly [Readable, Readable] {
  const readers = [new PassThrough(), new PassThrough()] as const;
  // Who left has no use for the error; the others get it from their own reading.
  for (const reader of readers) reader.on('error', () => {});
  void pump(source, readers);
  return readers;
}

async function pump(source: AsyncIterable<Uint8Array>, readers: readonly PassThrough[]): Promise<void> {
  let last: Uint8Array | undefined;
  try {
    for await (const part of source) {
      if (last) await give(readers, last);
      if (readers.every(({ destroyed }) => destroyed)) return;
      last = part;
    }
    if (last) await give(readers, last);
    for (const reader of readers) if (!reader.destroyed) reader.end();
  } catch (thrown) {
    for (const reader of readers) reader.destroy(thrown as Error);
  }
}

async function give(readers: readonly PassThrough[], part: Uint8Array): Promise<void> {
  await Promise.all(
    readers.map(async (reader) => {
      if (reader.destroyed || reader.write(part)) return;
      const left = new AbortController();
      const { signal } = left;
      await Promise.race([once(reader, 'drain', { signal }), once(reader, 'close', { signal })]).catch(() => {});
      left.abort();
    }),
  );
}
