interface Limits {
  readonly limitMs: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * Does work with a signal that aborts with another, or after so long. `AbortSignal.any` over an `AbortSignal.timeout` does not do: Node 20
 * collects the time-out, which nothing else refers to, and it never comes.
 */
export async function withTimeLimit<T>({ limitMs, signal }: Limits, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(new DOMException(`not done after ${limitMs} ms`, 'TimeoutError')), limitMs);
  const stop = () => control.abort(signal?.reason);
  signal?.addEventListener('abort', stop, { once: true });
  if (signal?.aborted) stop();
  try {
    return await work(control.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}
