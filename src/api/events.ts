import { WherryError } from '../base/errors.js';

/** Pause before a broken stream is opened again. */
const RETRY_MS = 500;

/**
 * Reads server-sent events with JSON data (WHATWG HTML §9.2). A broken stream is opened again from the last id; an
 * error that the server itself answers ends the reading.
 */
export async function* readEvents<T>(open: (lastId: string | undefined) => Promise<Response>, signal: AbortSignal): AsyncIterable<T> {
  let lastId: string | undefined;
  while (!signal.aborted) {
    try {
      const answer = await open(lastId);
      for await (const { id, data } of parseEvents(answer)) {
        if (id !== '') lastId = id;
        yield JSON.parse(data) as T;
      }
    } catch (thrown) {
      if (signal.aborted) return;
      if (thrown instanceof WherryError && !thrown.isRetryable) throw thrown;
    }
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function* parseEvents(answer: Response): AsyncIterable<{ readonly id: string; readonly data: string }> {
  if (!answer.body) return;
  const decoder = new TextDecoder();
  let rest = '';
  for await (const part of answer.body) {
    rest += decoder.decode(part, { stream: true });
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
      const lines = rest.slice(0, end).split('\n');
      rest = rest.slice(end + 2);
      const field = (name: string) => lines.flatMap((line) => (line.startsWith(`${name}:`) ? [line.slice(name.length + 1).trim()] : []));
      const data = field('data').join('\n');
      if (data !== '') yield { id: field('id')[0] ?? '', data };
    }
  }
}
