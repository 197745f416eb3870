import { type Facts, groupBy, ofKind, TERMINAL, type Violation } from './history.js';

/** I7: never more workers than max (one candidate beside them), none awake at rest beyond min. */
export function keepsBounds({ history, snapshot }: Facts): Violation[] {
  const violations: Violation[] = [];
  const bounds = new Map(snapshot.endpoints.map((endpoint) => [endpoint.id, endpoint]));
  for (const { endpoint, counted, processes, at } of ofKind(history, 'workers')) {
    const max = bounds.get(endpoint)?.max ?? 0;
    const say = (what: string) =>
      violations.push({ invariant: 'I7', subject: endpoint, what: `${what} at ${Math.round(at)}, max is ${max}` });
    if (counted > max) say(`${counted} workers`);
    if (processes > max + 1) say(`${processes} worker processes`);
  }
  for (const { id, min, workersAtRest } of snapshot.endpoints) {
    if (workersAtRest > min) violations.push({ invariant: 'I7', subject: id, what: `${workersAtRest} workers at rest, min is ${min}` });
  }
  return violations;
}

/** I8: nothing is left after the stop. */
export function leavesNothing({ snapshot }: Facts): Violation[] {
  return snapshot.leftovers.map((subject) => ({ invariant: 'I8', subject, what: 'is left after the stop' }));
}

/** I9: the chunks of a run arrive as a prefix without a gap, in order, each once. */
export function keepsStreams({ history }: Facts): Violation[] {
  const violations: Violation[] = [];
  for (const [id, chunks] of groupBy(ofKind(history, 'chunk'), (chunk) => chunk.id)) {
    const say = (what: string) => violations.push({ invariant: 'I9', subject: id, what });
    let run: string | undefined;
    let next = 0;
    const over = new Set<string>();
    for (const chunk of chunks) {
      if (chunk.run !== run) {
        if (over.has(chunk.run)) say(`chunks of run ${chunk.run} after those of another run`);
        if (run !== undefined) over.add(run);
        run = chunk.run;
        next = 0;
      }
      if (chunk.index !== next) say(`chunk ${chunk.index} arrived where ${next} was due`);
      next = chunk.index + 1;
    }
  }
  return violations;
}

/** I10: a job that asked for a webhook got one for its end, or the delivery is listed as failed. */
export function keepsWebhooks({ history, snapshot }: Facts): Violation[] {
  const failed = new Set(snapshot.webhooksFailed);
  const ends = new Map(snapshot.jobs.map(({ id, status }) => [id, status]));
  const told = groupBy(ofKind(history, 'webhook'), ({ id }) => id);
  const wanted = ofKind(history, 'submitted').flatMap(({ id, webhook }) => (webhook && id !== undefined ? [id] : []));
  return wanted.flatMap((id) => {
    const status = ends.get(id);
    if (status === undefined || !TERMINAL.has(status) || failed.has(id)) return [];
    const heard = told.get(id) ?? [];
    if (heard.some((one) => one.status === status)) return [];
    const what = `ended as ${status}; its webhook heard ${heard.map((one) => one.status).join(', ') || 'nothing'}`;
    return [{ invariant: 'I10', subject: id, what }];
  });
}

/** I11: no secret outside its place. */
export function keepsSecrets({ snapshot }: Facts): Violation[] {
  return snapshot.leaks.map(({ secret, place }) => ({ invariant: 'I11', subject: secret, what: `was found in ${place}` }));
}

/** I12: the bytes on disk hash to the digest of each release, manifest and blobs. */
export function keepsImages({ snapshot }: Facts): Violation[] {
  return snapshot.releases.flatMap(({ endpoint, number, digest, actual, blobs }) =>
    [{ digest, actual }, ...blobs]
      .filter((blob) => blob.actual !== blob.digest)
      .map((blob) => ({
        invariant: 'I12',
        subject: `${endpoint} r${number}`,
        what: `${blob.digest} is ${blob.actual ?? 'missing'} on disk`,
      })),
  );
}
