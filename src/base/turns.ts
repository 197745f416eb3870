/** Runs steps of the same key one after the other, in the order they were asked for. */
export type Turns = <T>(key: string, step: () => Promise<T>) => Promise<T>;

/** Keys without a step under way cost nothing. */
export function createTurns(): Turns {
  const tails = new Map<string, Promise<unknown>>();
  return (key, step) => {
    const result = (tails.get(key) ?? Promise.resolve()).then(step);
    const tail = result
      .catch(() => {})
      .then(() => {
        if (tails.get(key) === tail) tails.delete(key);
      });
    tails.set(key, tail);
    return result;
  };
}
