import { WherryError } from '../../base/errors.js';
import { type Endpoint, nameTaken } from '../../domain/endpoint.js';
import {
  isOpen,
  type Release,
  ROLLOUT_EDGES,
  ROLLOUT_STATES,
  type RolloutPlan,
  type RolloutState,
  rolloutOpen,
} from '../../domain/release.js';
import type { RolloutChange, Store } from '../store.js';
import type { CommitQueue } from './commit.js';
import type { Database, Row, SqlValue } from './driver.js';
import type { Lanes } from './lanes.js';
import { readEndpoint, readRelease, readRollout, readWorker } from './rows.js';

type EndpointVerbs = Pick<
  Store,
  | 'addEndpoint'
  | 'updateEndpoint'
  | 'getEndpoint'
  | 'viewFleet'
  | 'listEndpoints'
  | 'removeEndpoint'
  | 'addRelease'
  | 'getRelease'
  | 'listReleases'
  | 'listRollouts'
  | 'changeRollout'
>;

/** Endpoints are read for every request and changed rarely; who changes one takes it out. No read can come between a change and its commit: a batch runs in one piece. */
export type KnownEndpoints = Map<string, Endpoint>;

/** Endpoints, their releases and rollouts on SQLite. */
export function createEndpoints(
  db: Database,
  commits: CommitQueue,
  { lanes, known }: { readonly lanes: Lanes; readonly known: KnownEndpoints },
): EndpointVerbs {
  const sql = prepare(db);
  const get = (id: string): Endpoint => readEndpoint(sql.get.get(id) ?? unknown(id));

  return {
    addEndpoint: (endpoint) => commits.write(() => addEndpoint(endpoint), { isDurable: true }),

    updateEndpoint: (id, change) =>
      commits.write(
        () => {
          known.delete(id);
          const before = get(id);
          const after = { ...before, ...change };
          sql.update.run(after.name, JSON.stringify(after.settings), after.pausedReason, after.expiresAt, id);
          return after;
        },
        { isDurable: true },
      ),

    getEndpoint: async (id) => {
      const cached = known.get(id);
      if (cached) return cached;
      const row = sql.get.get(id);
      if (!row) return undefined;
      const endpoint = readEndpoint(row);
      known.set(id, endpoint);
      return endpoint;
    },
    // In one piece: nothing is committed in between.
    viewFleet: async (id) => {
      const row = sql.get.get(id);
      if (!row) return undefined;
      const rollout = sql.openRollout.get(id);
      const workers = sql.liveWorkers.all(id).map(readWorker);
      const pinned = sql.pinned.all(id).map(({ release }) => Number(release));
      return { endpoint: readEndpoint(row), workers, rollout: rollout && readRollout(rollout), pinned };
    },
    listEndpoints: async () => sql.list.all().map(readEndpoint),

    removeEndpoint: (id) =>
      commits.write(
        () => {
          known.delete(id);
          lanes.forget(id);
          if (sql.remove.run(id).changes === 0) unknown(id);
          sql.removeKeys.run(id);
          sql.leaveTemplate.run(id);
          sql.removeOwnTemplate.run(id);
          sql.unbind.run(id);
        },
        { isDurable: true },
      ),

    addRelease: (release, plan, now, made) =>
      commits.write(() => {
        if (made) addEndpoint(made.endpoint);
        return addRelease(release, plan, now);
      }, releaseStep),
    getRelease: async (endpointId, number) => {
      const row = sql.getRelease.get(endpointId, number);
      return row && readRelease(row);
    },
    listReleases: async (endpointId, { before, limit } = {}) =>
      sql.listReleases.all(endpointId, before ?? null, limit ?? -1).map(readRelease),
    listRollouts: async (endpointId, { before, limit, isOpen = false } = {}) =>
      isOpen
        ? sql.openRollout.all(endpointId).map(readRollout)
        : sql.listRollouts.all(endpointId, before ?? null, limit ?? -1).map(readRollout),

    changeRollout: (change, now) =>
      commits.write(
        () => {
          const { endpointId, to, state } = change;
          const row = sql.changeRollout.get(...valuesOf(change, now));
          if (!row) return undefined;
          known.delete(endpointId);
          lanes.forget(endpointId);
          if (state === 'DONE') sql.activate.run(to, endpointId);
          if (state === 'DONE' || state === 'CANARY') sql.serve.run(endpointId, to);
          return readRollout(row);
        },
        change.state === 'DONE' ? activateStep : { isDurable: true },
      ),
  };

  function addEndpoint({ id, name, type, settings, createdAt, labels, expiresAt }: Endpoint): void {
    if (sql.get.get(id)) throw nameTaken(id);
    sql.add.run(id, name, type, JSON.stringify(settings), createdAt, JSON.stringify(labels), expiresAt);
  }

  function addRelease(release: Omit<Release, 'number'>, { share, holdMs, reason }: RolloutPlan, now: number) {
    const { endpointId, author, source, sourceRevision, image, spec, createdAt } = release;
    const endpoint = get(endpointId);
    const open = sql.openRollout.get(endpointId);
    if (open) throw rolloutOpen(readRollout(open));
    const number = Number(sql.lastNumber.get(endpointId)?.['last'] ?? 0) + 1;
    sql.addRelease.run(endpointId, number, createdAt, author, source, sourceRevision, JSON.stringify(image), JSON.stringify(spec));
    const rollout = sql.addRollout.get(endpointId, endpoint.activeRelease, number, share, holdMs, reason, now);
    return { release: { ...release, number }, rollout: readRollout(rollout ?? {}) };
  }
}

function valuesOf({ endpointId, to, state, share, provedAt, reason }: RolloutChange, now: number): SqlValue[] {
  const endedAt = state === 'DONE' || state === 'REVERTED' ? now : null;
  const from = state === undefined ? ROLLOUT_STATES.filter((one) => isOpen({ state: one })) : statesBefore(state);
  return [endpointId, to, JSON.stringify(from), state ?? null, share ?? null, provedAt ?? null, reason ?? null, endedAt];
}

/** The guard of the UPDATE: the states from which the edge to `state` is legal. */
function statesBefore(state: RolloutState): readonly RolloutState[] {
  return ROLLOUT_STATES.filter((from) => ROLLOUT_EDGES[from].includes(state));
}

const releaseStep = { isDurable: true, before: 'deploy.before-release', after: 'deploy.after-release' } as const;
const activateStep = { isDurable: true, before: 'deploy.before-activate', after: 'deploy.after-activate' } as const;

function prepare(db: Database) {
  return {
    add: db.prepare('INSERT INTO endpoint (id, name, type, settings, created_at, labels, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)'),
    update: db.prepare('UPDATE endpoint SET name = ?, settings = ?, paused_reason = ?, expires_at = ? WHERE id = ?'),
    get: db.prepare('SELECT * FROM endpoint WHERE id = ?'),
    list: db.prepare('SELECT * FROM endpoint ORDER BY id'),
    remove: db.prepare('DELETE FROM endpoint WHERE id = ?'),
    removeKeys: db.prepare(`DELETE FROM record WHERE kind = 'key' AND json_extract(value, '$.endpointId') = ?`),
    leaveTemplate:
      db.prepare(`DELETE FROM record WHERE kind = 'bound-endpoint' AND id = (SELECT json_extract(value, '$.templateId') || '/' || id
      FROM record WHERE kind = 'binding' AND id = ?)`),
    // Ids between t/ and t0 begin with t/.
    removeOwnTemplate:
      db.prepare(`DELETE FROM record AS template WHERE kind = 'template' AND id = (SELECT json_extract(value, '$.templateId')
      FROM record WHERE kind = 'binding' AND id = ? AND json_extract(value, '$.isOwn')) AND NOT EXISTS (SELECT 1
      FROM record WHERE kind = 'bound-endpoint' AND id > template.id || '/' AND id < template.id || '0'
      AND substr(id, length(template.id) + 2) IN (SELECT id FROM endpoint))`),
    unbind: db.prepare(`DELETE FROM record WHERE kind = 'binding' AND id = ?`),
    lastNumber: db.prepare('SELECT max(number) AS last FROM release WHERE endpoint_id = ?'),
    addRelease: db.prepare(
      'INSERT INTO release (endpoint_id, number, created_at, author, source, source_revision, image, spec) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    ),
    getRelease: db.prepare('SELECT * FROM release WHERE endpoint_id = ? AND number = ?'),
    listReleases: db.prepare('SELECT * FROM release WHERE endpoint_id = ?1 AND number < coalesce(?2, 1e15) ORDER BY number DESC LIMIT ?3'),
    openRollout: db.prepare(`SELECT * FROM rollout WHERE endpoint_id = ? AND state IN ('PROVING', 'CANARY')`),
    addRollout: db.prepare(`INSERT INTO rollout (endpoint_id, from_release, to_release, share, hold_ms, reason, state, started_at)
      VALUES (?, ?, ?, ?, ?, ?, 'PROVING', ?) RETURNING *`),
    listRollouts: db.prepare(
      'SELECT * FROM rollout WHERE endpoint_id = ?1 AND to_release < coalesce(?2, 1e15) ORDER BY to_release DESC LIMIT ?3',
    ),
    changeRollout: db.prepare(`UPDATE rollout SET state = coalesce(?4, state), share = coalesce(?5, share),
      proved_at = coalesce(proved_at, ?6), reason = coalesce(?7, reason), ended_at = ?8
      WHERE endpoint_id = ?1 AND to_release = ?2 AND state IN (SELECT value FROM json_each(?3)) RETURNING *`),
    pinned: db.prepare(`SELECT DISTINCT pinned_release AS release FROM job INDEXED BY job_pinned
      WHERE endpoint_id = ? AND state = 'IN_QUEUE' AND pinned_release IS NOT NULL`),
    liveWorkers: db.prepare(`SELECT * FROM worker WHERE state <> 'STOPPED' AND endpoint_id = ? ORDER BY created_at, id`),
    serve: db.prepare('UPDATE worker SET is_candidate = 0 WHERE endpoint_id = ? AND release = ?'),
    activate: db.prepare('UPDATE endpoint SET active_release = ?, paused_reason = NULL WHERE id = ?'),
  };
}

function unknown(id: string): Row {
  throw new WherryError('ENDPOINT_UNKNOWN', `there is no endpoint '${id}'`, { hint: '`wherry status` lists the endpoints' });
}
