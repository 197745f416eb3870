import { WherryError } from '../../base/errors.js';
import type { Endpoint } from '../../domain/endpoint.js';
import type { Release } from '../../domain/release.js';
import type { Store } from '../store.js';
import type { CommitQueue } from './commit.js';
import type { Database, Row } from './driver.js';
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
  | 'endRollout'
>;

/** Endpoints, their releases and rollouts on SQLite. */
export function createEndpoints(db: Database, commits: CommitQueue): EndpointVerbs {
  const sql = prepare(db);
  const get = (id: string): Endpoint => readEndpoint(sql.get.get(id) ?? unknown(id));
  /** Read for every request, changed rarely. No read can come between a change and its commit: a batch runs in one piece. */
  const known = new Map<string, Endpoint>();

  return {
    addEndpoint: (endpoint) =>
      commits.write(
        () => {
          const { id, name, type, settings, createdAt } = endpoint;
          if (sql.get.get(id)) {
            throw new WherryError('NAME_TAKEN', `endpoint '${id}' exists already`, {
              hint: 'choose another name, or deploy to the existing one',
            });
          }
          sql.add.run(id, name, type, JSON.stringify(settings), createdAt);
        },
        { isDurable: true },
      ),

    updateEndpoint: (id, change) =>
      commits.write(
        () => {
          known.delete(id);
          const before = get(id);
          const after = { ...before, ...change };
          sql.update.run(after.name, JSON.stringify(after.settings), after.pausedReason, id);
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
      return { endpoint: readEndpoint(row), workers, rollout: rollout && readRollout(rollout) };
    },
    listEndpoints: async () => sql.list.all().map(readEndpoint),

    removeEndpoint: (id) =>
      commits.write(
        () => {
          known.delete(id);
          if (sql.remove.run(id).changes === 0) unknown(id);
          sql.removeKeys.run(id);
        },
        { isDurable: true },
      ),

    addRelease: (release, now) => commits.write(() => addRelease(release, now), releaseStep),
    getRelease: async (endpointId, number) => {
      const row = sql.getRelease.get(endpointId, number);
      return row && readRelease(row);
    },
    listReleases: async (endpointId) => sql.listReleases.all(endpointId).map(readRelease),
    listRollouts: async (endpointId) => sql.listRollouts.all(endpointId).map(readRollout),

    endRollout: ({ endpointId, to, state, reason }, now) =>
      commits.write(
        () => {
          const row = sql.endRollout.get(state, reason, now, endpointId, to);
          if (!row) return undefined;
          known.delete(endpointId);
          if (state === 'DONE') {
            sql.activate.run(to, endpointId);
            sql.serve.run(endpointId, to);
          }
          return readRollout(row);
        },
        state === 'DONE' ? activateStep : { isDurable: true },
      ),
  };

  function addRelease(release: Omit<Release, 'number'>, now: number) {
    const { endpointId, author, source, sourceRevision, image, spec, createdAt } = release;
    const endpoint = get(endpointId);
    const open = sql.openRollout.get(endpointId);
    if (open) {
      throw new WherryError('ROLLOUT_OPEN', `release r${String(open['to_release'])} of '${endpointId}' is still proving itself`, {
        hint: 'wait until it is done or reverted, then try again',
      });
    }
    const number = Number(sql.lastNumber.get(endpointId)?.['last'] ?? 0) + 1;
    sql.addRelease.run(endpointId, number, createdAt, author, source, sourceRevision, JSON.stringify(image), JSON.stringify(spec));
    const rollout = sql.addRollout.get(endpointId, endpoint.activeRelease, number, now);
    return { release: { ...release, number }, rollout: readRollout(rollout ?? {}) };
  }
}

const releaseStep = { isDurable: true, before: 'deploy.before-release', after: 'deploy.after-release' } as const;
const activateStep = { isDurable: true, before: 'deploy.before-activate', after: 'deploy.after-activate' } as const;

function prepare(db: Database) {
  return {
    add: db.prepare('INSERT INTO endpoint (id, name, type, settings, created_at) VALUES (?, ?, ?, ?, ?)'),
    update: db.prepare('UPDATE endpoint SET name = ?, settings = ?, paused_reason = ? WHERE id = ?'),
    get: db.prepare('SELECT * FROM endpoint WHERE id = ?'),
    list: db.prepare('SELECT * FROM endpoint ORDER BY id'),
    remove: db.prepare('DELETE FROM endpoint WHERE id = ?'),
    removeKeys: db.prepare(`DELETE FROM record WHERE kind = 'key' AND json_extract(value, '$.endpointId') = ?`),
    lastNumber: db.prepare('SELECT max(number) AS last FROM release WHERE endpoint_id = ?'),
    addRelease: db.prepare(
      'INSERT INTO release (endpoint_id, number, created_at, author, source, source_revision, image, spec) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    ),
    getRelease: db.prepare('SELECT * FROM release WHERE endpoint_id = ? AND number = ?'),
    listReleases: db.prepare('SELECT * FROM release WHERE endpoint_id = ? ORDER BY number DESC'),
    openRollout: db.prepare(`SELECT * FROM rollout WHERE endpoint_id = ? AND state IN ('PROVING', 'CANARY')`),
    addRollout: db.prepare(`INSERT INTO rollout (endpoint_id, from_release, to_release, share, state, started_at)
      VALUES (?, ?, ?, 100, 'PROVING', ?) RETURNING *`),
    listRollouts: db.prepare('SELECT * FROM rollout WHERE endpoint_id = ? ORDER BY to_release DESC'),
    endRollout: db.prepare(`UPDATE rollout SET state = ?, reason = ?, ended_at = ?
      WHERE endpoint_id = ? AND to_release = ? AND state IN ('PROVING', 'CANARY') RETURNING *`),
    liveWorkers: db.prepare(`SELECT * FROM worker WHERE state <> 'STOPPED' AND endpoint_id = ? ORDER BY created_at, id`),
    serve: db.prepare('UPDATE worker SET is_candidate = 0 WHERE endpoint_id = ? AND release = ?'),
    activate: db.prepare('UPDATE endpoint SET active_release = ?, paused_reason = NULL WHERE id = ?'),
  };
}

function unknown(id: string): Row {
  throw new WherryError('ENDPOINT_UNKNOWN', `there is no endpoint '${id}'`, { hint: '`wherry status` lists the endpoints' });
}
