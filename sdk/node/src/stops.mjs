// The stop channel: asks which of the held jobs to stop (worker-protocol: job-stop).

const POLL_LIMIT_MS = 90_000;
/** A poll that was held so long may be repeated at once; a quicker answer would make a tight loop. */
const SHORTEST_POLL_MS = 1_000;

/** Asks as long as the worker runs. `stop(id)` is true when it stopped a job that ran until now. */
export async function listenForStops({ call, url, stop }) {
  for (;;) {
    const askedAt = Date.now();
    const { status, text } = await call('GET', url, { limitMs: POLL_LIMIT_MS });
    const stopped = (status === 200 ? readStops(text) : []).filter(stop);
    const isQuick = stopped.length === 0 && Date.now() - askedAt < SHORTEST_POLL_MS;
    if (status === 429 || isQuick) await new Promise((resolve) => setTimeout(resolve, status === 429 ? 5_000 : 1_000));
  }
}

function readStops(text) {
  try {
    const { jobsToStop } = JSON.parse(text);
    return Array.isArray(jobsToStop) ? jobsToStop : [];
  } catch {
    return [];
  }
}
