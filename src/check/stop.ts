import type { Failure } from './judge.js';

/** The reason of an abort: the verdict of every test that is still under way. */
export class Stop extends Error {
  readonly failure: Failure;
  constructor(failure: Failure) {
    super(failure.text);
    this.failure = failure;
  }
}

/** The work, or the signal's reason as soon as it aborts; the work is left alone then. */
export function stopping<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  work.catch(() => {});
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason);
    if (signal.aborted) return stop();
    signal.addEventListener('abort', stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', stop));
  });
}

/** Aborts with a {@link Stop} when the interruption does, or when so many milliseconds are over. */
export function stopOn(interrupted: AbortSignal, limitMs: number): { readonly signal: AbortSignal; release(): void } {
  const control = new AbortController();
  const stop = (code: Failure['code'], text: string) => (): void => control.abort(new Stop({ code, text }));
  const interrupt = stop('INTERRUPTED', 'the run was interrupted');
  const timer = setTimeout(stop('BUDGET_USED_UP', "the run's time was used up before the result came"), Math.max(0, limitMs));
  interrupted.addEventListener('abort', interrupt, { once: true });
  if (interrupted.aborted) interrupt();
  return {
    signal: control.signal,
    release() {
      clearTimeout(timer);
      interrupted.removeEventListener('abort', interrupt);
    },
  };
}
