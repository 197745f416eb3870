import { WORKER_EDGES, type WorkerState } from '../../domain/worker.js';
import type { Store, WorkerChange } from '../store.js';
import type { CommitQueue } from './commit.js';
import type { Database, SqlValue } from './driver.js';
import { readWorker } from './rows.js';

type WorkerVerbs = Pick<Store, 'addWorker' | 'changeWorker' | 'getWorker' | 'listWorkers' | 'countStopped'>;

/** Worker rows on SQLite. Not flushed: a worker of a lost machine is gone anyway. */
export function createWorkers(db: Database, commits: CommitQueue): WorkerVerbs {
  const add =
    db.prepare(`INSERT INTO worker (id, endpoint_id, release, state, token_hash, runtime, handle, is_candidate, created_at, admitted_at, gpus)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
  const get = db.prepare('SELECT * FROM worker WHERE id = ?');
  const listLive = db.prepare(`SELECT * FROM worker WHERE state <> 'STOPPED' AND (?1 IS NULL OR endpoint_id = ?1) ORDER BY created_at, id`);
  const listAll = db.prepare('SELECT * FROM worker WHERE (?1 IS NULL OR endpoint_id = ?1) ORDER BY created_at, id');
  const listEnded = db.prepare(`SELECT * FROM (SELECT * FROM worker INDEXED BY worker_stopped WHERE state = 'STOPPED' AND endpoint_id = ?1
      ORDER BY stopped_at DESC LIMIT ?2)
    UNION ALL SELECT * FROM worker WHERE state <> 'STOPPED' AND endpoint_id = ?1 ORDER BY created_at, id`);
  const countStopped = db.prepare(
    `SELECT endpoint_id, count(*) AS stopped FROM worker INDEXED BY worker_stopped WHERE state = 'STOPPED' GROUP BY endpoint_id`,
  );
  const change = db.prepare(`UPDATE worker SET state = coalesce(?2, state), handle = coalesce(?3, handle),
    ready_at = coalesce(ready_at, ?4), last_seen_at = coalesce(?5, last_seen_at), idle_since = CASE WHEN ?6 THEN ?7 ELSE idle_since END,
    stopped_at = coalesce(?8, stopped_at), exit_code = coalesce(?9, exit_code), reason = coalesce(?10, reason), start = coalesce(?12, start),
    frozen_at = CASE WHEN ?13 THEN ?14 ELSE frozen_at END, memory_bytes = CASE WHEN ?15 THEN ?16 ELSE memory_bytes END,
    thaws = coalesce(?17, thaws), token_hash = coalesce(?19, token_hash), admitted_at = coalesce(?20, admitted_at), gpus = coalesce(?21, gpus)
    WHERE id = ?1 AND (?2 IS NULL OR state IN (SELECT value FROM json_each(?11))) AND (?18 IS NULL OR state = ?18) RETURNING *`);

  return {
    addWorker: (worker) =>
      commits.write(() => {
        const { id, endpointId, release, state, tokenHash, runtime, handle, isCandidate, createdAt, admittedAt, gpus } = worker;
        add.run(
          id,
          endpointId,
          release,
          state,
          tokenHash,
          runtime,
          handle,
          Number(isCandidate),
          createdAt,
          admittedAt,
          gpus && JSON.stringify(gpus),
        );
      }),
    changeWorker: (wanted) =>
      commits.write(() => {
        const row = change.get(...valuesOf(wanted));
        return row && readWorker(row);
      }),
    getWorker: async (id) => {
      const row = get.get(id);
      return row && readWorker(row);
    },
    listWorkers: async (endpointId, stopped = false) => {
      if (typeof stopped === 'number' && endpointId !== undefined) return listEnded.all(endpointId, stopped).map(readWorker);
      return (stopped === false ? listLive : listAll).all(endpointId ?? null).map(readWorker);
    },
    countStopped: async () =>
      new Map(countStopped.all().map((row): [string, number] => [String(row['endpoint_id']), Number(row['stopped'])])),
  };
}

function valuesOf(change: WorkerChange): SqlValue[] {
  return [
    change.id,
    change.state ?? null,
    change.handle ?? null,
    change.readyAt ?? null,
    change.lastSeenAt ?? null,
    Number(change.idleSince !== undefined),
    change.idleSince ?? null,
    change.stoppedAt ?? null,
    change.exitCode ?? null,
    change.reason ?? null,
    change.state === undefined ? '[]' : JSON.stringify(statesBefore(change.state)),
    change.start === undefined ? null : JSON.stringify(change.start),
    Number(change.frozenAt !== undefined),
    change.frozenAt ?? null,
    Number(change.memoryBytes !== undefined),
    change.memoryBytes ?? null,
    change.thaws ?? null,
    change.from ?? null,
    change.tokenHash ?? null,
    change.admittedAt ?? null,
    change.gpus === undefined ? null : JSON.stringify(change.gpus),
  ];
}

/** The guard of the UPDATE: the states from which the edge to `state` is legal. */
function statesBefore(state: WorkerState): string[] {
  return Object.entries(WORKER_EDGES).flatMap(([from, to]) => (to.includes(state) ? [from] : []));
}
