import { WherryError } from '../base/errors.js';

/**
 * How far a reader is in a job's stream. A worker never gets the same job twice, so its id names the run; '' before the first.
 * `number` is that of the last chunk it has: 1 is the first of a run, 0 none.
 */
export interface StreamMark {
  readonly workerId: string;
  readonly number: number;
}

/** Chunks in order, as the worker's own JSON texts, and how far they bring their reader. */
export interface ChunkPart {
  readonly chunks: readonly string[];
  readonly mark: StreamMark;
}

/** Readers hand it back as it is. */
export function formatStreamMark({ workerId, number }: StreamMark): string {
  return `${workerId}.${number}`;
}

/** Null for the beginning, which is the empty text. Throws REQUEST_INVALID. */
export function parseStreamMark(text: string): StreamMark | null {
  if (text === '') return null;
  const [, workerId = '', number = ''] = /^([\w-]*)\.(\d{1,9})$/.exec(text) ?? [];
  if (number !== '') return { workerId, number: Number(number) };
  throw new WherryError('REQUEST_INVALID', `'after' is not the 'next' of an answer: ${JSON.stringify(text.slice(0, 100))}`, {
    hint: 'send the text of `next` as it came, or nothing to read from the first chunk on',
  });
}
