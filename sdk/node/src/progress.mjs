// Progress values, posted beside the handler: a slow server does not slow it.
import { stringify } from './results.mjs';

/** A progress value is not repeated: the next one says more. The server has this long to answer. */
const POST_LIMIT_MS = 10_000;

/** Keeps the newest value of a job until it is posted; one post at a time. `settle` lets nothing of it through any more. */
export function createProgress(call, url) {
  let waiting;
  let sending;
  let isOver = false;
  const send = async () => {
    while (waiting !== undefined) {
      const body = waiting;
      waiting = undefined;
      await call('POST', url, { body, limitMs: POST_LIMIT_MS });
    }
    sending = undefined;
  };
  return {
    update: (value) => {
      if (isOver) return;
      // Now, not when it is sent: the handler may go on changing the value.
      waiting = stringify({ status: 'IN_PROGRESS', output: value ?? null });
      sending ??= send();
    },
    /** What waits is forgotten, what is on its way arrives first. */
    settle: async () => {
      isOver = true;
      waiting = undefined;
      await sending;
    },
  };
}
