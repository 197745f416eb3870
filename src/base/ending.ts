/** Tells that a wait is over early. Every AbortSignal is one. */
export interface Ending {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void, options?: { readonly once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** An Ending for each held request: an AbortController takes ten times the memory, which full collections have to find again. */
export class Ender implements Ending {
  #listeners: (() => void)[] = [];
  #isOver = false;

  get aborted(): boolean {
    return this.#isOver;
  }

  /** Each listener is called once; never when it is already over. */
  addEventListener(_type: 'abort', listener: () => void): void {
    if (!this.#isOver) this.#listeners.push(listener);
  }

  removeEventListener(_type: 'abort', listener: () => void): void {
    const at = this.#listeners.indexOf(listener);
    if (at >= 0) this.#listeners.splice(at, 1);
  }

  abort(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const listener of this.#listeners.splice(0)) listener();
  }
}

/** For the platform's own functions, which take nothing less. */
export function toAbortSignal(ending: Ending): AbortSignal {
  const controller = new AbortController();
  if (ending.aborted) controller.abort();
  else ending.addEventListener('abort', () => controller.abort(), { once: true });
  return controller.signal;
}
