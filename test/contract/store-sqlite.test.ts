import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { noFaults } from '../../src/base/faults.js';
import { silentLog } from '../../src/base/log.js';
import { ENDPOINT_TYPES } from '../../src/domain/endpoint.js';
import { JOB_STATES } from '../../src/domain/job.js';
import { ROLLOUT_STATES } from '../../src/domain/release.js';
import { WORKER_STATES } from '../../src/domain/worker.js';
import { CommitQueue } from '../../src/store/sqlite/commit.js';
import { type Database, openDatabase } from '../../src/store/sqlite/driver.js';
import { createEndpoints } from '../../src/store/sqlite/endpoints.js';
import { createLanes } from '../../src/store/sqlite/lanes.js';
import { createQueue } from '../../src/store/sqlite/queue.js';
import { openSqliteStore } from '../../src/store/sqlite/store.js';
import { describeStore, endpointOf } from './store.js';
import { describeStoreEndpoints } from './store-endpoints.js';
import { describeStoreLanes } from './store-lanes.js';

const openFresh = async () => {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-store-'));
  const open = () => openSqliteStore({ file: join(dir, 'wherry.db'), faults: noFaults, log: silentLog });
  return { store: await open(), reopen: open, remove: () => rmSync(dir, { recursive: true, force: true }) };
};

describeStore('SQLite', openFresh);
describeStoreEndpoints('SQLite', openFresh);
describeStoreLanes('SQLite', openFresh);

/** The migrations write the states out, so that a new state needs a new step; this is where a forgotten one shows. */
describe('the schema of SQLite', () => {
  it('accepts the states of the domain, no more and no fewer', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'wherry-schema-'));
    const file = join(dir, 'wherry.db');
    await (await openSqliteStore({ file, faults: noFaults, log: silentLog })).close();
    const db = await openDatabase(file);
    const schema = db.prepare("SELECT group_concat(sql, ' ') AS text FROM sqlite_master").get()?.['text'];
    db.close();
    rmSync(dir, { recursive: true, force: true });
    const lists = [...String(schema).matchAll(/CHECK \((?:state|type) IN \(([^)]*)\)\)/g)].map(([, list = '']) =>
      list.replaceAll("'", '').split(', '),
    );
    expect(lists).toEqual([ENDPOINT_TYPES, ROLLOUT_STATES, JOB_STATES, WORKER_STATES].map((states) => [...states]));
  });
});

describe('a database of a version before endpoints expired', () => {
  it('opens with endpoints that have no labels and never do, and are found from their templates', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'wherry-old-'));
    const file = join(dir, 'wherry.db');
    const open = () => openSqliteStore({ file, faults: noFaults, log: silentLog });
    const made = await open();
    await made.addEndpoint(endpointOf('old'));
    for (const templateId of ['t1', null])
      await made.putRecord('binding', `of-${templateId}`, { templateId, isOwn: false, saved: null, extras: {} });
    await made.close();
    const db = await openDatabase(file);
    db.exec(`ALTER TABLE endpoint DROP COLUMN labels; ALTER TABLE endpoint DROP COLUMN expires_at;
      DELETE FROM migration WHERE name IN ('0007-expiring-endpoints', '0009-bound-endpoints')`);
    db.close();
    const opened = await open();
    expect(await opened.getEndpoint('old')).toEqual(endpointOf('old'));
    expect(await opened.listRecords('bound-endpoint')).toEqual([{ id: 't1/of-t1', value: {} }]);
    await opened.close();
    rmSync(dir, { recursive: true, force: true });
  });
});

/** What every claim, list and look of the scaler asks: none of it may cost what the whole history holds. */
describe('the statements of SQLite', () => {
  it('find jobs, releases and rollouts by an index that has their order, also among 1,000 releases (D5)', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'wherry-plan-'));
    const file = join(dir, 'wherry.db');
    await (await openSqliteStore({ file, faults: noFaults, log: silentLog })).close();
    const db = await openDatabase(file);
    const prepared: string[] = [];
    const seen: Database = {
      ...db,
      prepare: (sql) => {
        prepared.push(sql);
        return db.prepare(sql);
      },
    };
    const commits = new CommitQueue(seen, noFaults);
    const lanes = createLanes(seen, commits);
    createQueue(seen, commits, lanes);
    createEndpoints(seen, commits, { lanes, known: new Map() });
    const plans = prepared
      .filter((sql) => /\b(FROM|UPDATE) (job|release|rollout)\b/.test(sql))
      .map((sql) => ({
        sql,
        plan: db
          .prepare(`EXPLAIN QUERY PLAN ${sql}`)
          .all()
          .map(({ detail }) => String(detail)),
      }));
    db.close();
    rmSync(dir, { recursive: true, force: true });
    expect(plans.length).toBeGreaterThan(40);
    const isListOfPinned = (sql: string) => /INDEXED BY job_pinned .* ORDER BY seq DESC/s.test(sql);
    const bad = plans.filter(
      ({ sql, plan }) =>
        !isListOfPinned(sql) && plan.some((detail) => /^SCAN (?!.*\bINDEX\b)(job|j|release|rollout)\b|TEMP B-TREE/.test(detail)),
    );
    expect(bad).toEqual([]);
    const claim = plans.find(({ sql }) => sql.includes('pinned_release IS NULL OR pinned_release = ?'));
    expect(claim?.plan.join('\n')).toContain('USING INDEX job_queue (endpoint_id=?)');
  });
});
