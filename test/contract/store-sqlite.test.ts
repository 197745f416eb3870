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
import { openDatabase } from '../../src/store/sqlite/driver.js';
import { openSqliteStore } from '../../src/store/sqlite/store.js';
import { describeStore } from './store.js';

describeStore('SQLite', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-store-'));
  const open = () => openSqliteStore({ file: join(dir, 'wherry.db'), faults: noFaults, log: silentLog });
  return { store: await open(), reopen: open, remove: () => rmSync(dir, { recursive: true, force: true }) };
});

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
