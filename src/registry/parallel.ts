/** Runs `step` for each item, at most `limit` at once. After a failure nothing new begins; rejects with it when what runs has ended. */
export async function forEachOf<T>(items: readonly T[], limit: number, step: (item: T) => Promise<void>): Promise<void> {
  const waiting = [...items];
  const runner = async (): Promise<void> => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) {
      try {
        await step(item);
      } catch (thrown) {
        waiting.length = 0;
        throw thrown;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: Math.min(limit, items.length) }, runner));
  const failed = results.find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}
