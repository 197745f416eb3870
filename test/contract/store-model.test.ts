import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { noFaults } from '../../src/base/faults.js';
import { silentLog } from '../../src/base/log.js';
import { openSqliteStore } from '../../src/store/sqlite/store.js';
import { describeStoreModel } from './store-model.js';

describeStoreModel('SQLite', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-store-'));
  const open = () => openSqliteStore({ file: join(dir, 'wherry.db'), faults: noFaults, log: silentLog });
  return { store: await open(), reopen: open, remove: () => rmSync(dir, { recursive: true, force: true }) };
});
