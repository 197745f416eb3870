import { WherryError } from '../../base/errors.js';
import type { Database } from './driver.js';

/** Forward only, never edited once released: the lists of states are written out, so that a new state needs a new step. */
const MIGRATIONS: readonly { readonly name: string; readonly sql: string }[] = [
  {
    name: '0001-initial',
    sql: `
CREATE TABLE endpoint (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL CHECK (type IN ('queue', 'load-balancer')), template TEXT,
  settings TEXT NOT NULL, active_release INTEGER, paused_reason TEXT, created_at INTEGER NOT NULL,
  completed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0, retried INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE release (
  endpoint_id TEXT NOT NULL REFERENCES endpoint (id) ON DELETE CASCADE, number INTEGER NOT NULL, created_at INTEGER NOT NULL,
  author TEXT NOT NULL, source TEXT NOT NULL, source_revision TEXT, image TEXT NOT NULL, spec TEXT NOT NULL,
  PRIMARY KEY (endpoint_id, number)
) STRICT;
CREATE TABLE rollout (
  endpoint_id TEXT NOT NULL REFERENCES endpoint (id) ON DELETE CASCADE, from_release INTEGER, to_release INTEGER NOT NULL,
  share INTEGER NOT NULL, state TEXT NOT NULL CHECK (state IN ('PROVING', 'CANARY', 'DONE', 'REVERTED')), reason TEXT,
  started_at INTEGER NOT NULL, ended_at INTEGER, PRIMARY KEY (endpoint_id, to_release)
) STRICT;
CREATE UNIQUE INDEX rollout_open ON rollout (endpoint_id) WHERE state IN ('PROVING', 'CANARY');
CREATE TABLE job (
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, endpoint_id TEXT NOT NULL REFERENCES endpoint (id) ON DELETE CASCADE,
  state TEXT NOT NULL CHECK (state IN ('IN_QUEUE', 'IN_PROGRESS', 'COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT')), input TEXT NOT NULL, extras TEXT,
  is_sync INTEGER NOT NULL, priority INTEGER NOT NULL, webhook TEXT, batch_id TEXT, idempotency_key TEXT, execution_timeout_ms INTEGER NOT NULL, expires_at INTEGER NOT NULL,
  submitted_at INTEGER NOT NULL, queued_at INTEGER NOT NULL, claimed_at INTEGER, finished_at INTEGER, worker_id TEXT, release INTEGER, pinned_release INTEGER,
  attempt INTEGER NOT NULL DEFAULT 0, is_confirmed INTEGER NOT NULL DEFAULT 0, lease_until INTEGER, output TEXT, error TEXT,
  retain_until INTEGER, is_tombstone INTEGER NOT NULL DEFAULT 0,
  chunks INTEGER NOT NULL DEFAULT 0, chunks_delivered INTEGER NOT NULL DEFAULT 0, stream_bytes INTEGER NOT NULL DEFAULT 0,
  stream_posts INTEGER NOT NULL DEFAULT 0,
  CHECK ((state IN ('IN_QUEUE', 'IN_PROGRESS')) = (finished_at IS NULL)),
  CHECK ((state = 'IN_PROGRESS') = (lease_until IS NOT NULL))
) STRICT;
CREATE INDEX job_queue ON job (endpoint_id, priority, seq) WHERE state = 'IN_QUEUE';
CREATE INDEX job_low ON job (endpoint_id, queued_at) WHERE state = 'IN_QUEUE' AND priority = 2;
CREATE INDEX job_live ON job (worker_id, endpoint_id) WHERE state = 'IN_PROGRESS';
CREATE INDEX job_expiry ON job (expires_at) WHERE state IN ('IN_QUEUE', 'IN_PROGRESS');
CREATE INDEX job_retention ON job (retain_until) WHERE retain_until IS NOT NULL AND is_tombstone = 0;
CREATE INDEX job_tombstone ON job (retain_until) WHERE is_tombstone = 1;
CREATE UNIQUE INDEX job_idempotency ON job (endpoint_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX job_batch ON job (batch_id, seq) WHERE batch_id IS NOT NULL;
CREATE INDEX job_endpoint ON job (endpoint_id, seq);
CREATE TABLE chunk (
  job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, number INTEGER NOT NULL, output TEXT NOT NULL, PRIMARY KEY (job_id, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE attempt (
  job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, worker_id TEXT NOT NULL, PRIMARY KEY (job_id, worker_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE worker (
  id TEXT PRIMARY KEY, endpoint_id TEXT NOT NULL REFERENCES endpoint (id) ON DELETE CASCADE, release INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('THROTTLED', 'INITIALIZING', 'IDLE', 'RUNNING', 'FROZEN', 'DRAINING', 'UNHEALTHY', 'STOPPED')), token_hash TEXT NOT NULL, runtime TEXT NOT NULL, handle TEXT,
  is_candidate INTEGER NOT NULL, created_at INTEGER NOT NULL, start TEXT, ready_at INTEGER, last_seen_at INTEGER, idle_since INTEGER,
  stopped_at INTEGER, exit_code INTEGER, reason TEXT
) STRICT;
CREATE INDEX worker_live ON worker (endpoint_id) WHERE state <> 'STOPPED';
CREATE TABLE record (kind TEXT NOT NULL, id TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID;`,
  },
  {
    name: '0002-frozen-workers',
    sql: 'ALTER TABLE worker ADD COLUMN frozen_at INTEGER; ALTER TABLE worker ADD COLUMN memory_bytes INTEGER;',
  },
  { name: '0003-thaws', sql: 'ALTER TABLE worker ADD COLUMN thaws TEXT;' },
  {
    // The index costs nothing for jobs that are not pinned.
    name: '0004-rollouts',
    sql: `ALTER TABLE rollout ADD COLUMN hold_ms INTEGER; ALTER TABLE rollout ADD COLUMN proved_at INTEGER;
CREATE INDEX job_pinned ON job (endpoint_id, pinned_release, priority, seq) WHERE state = 'IN_QUEUE' AND pinned_release IS NOT NULL;`,
  },
  {
    name: '0005-seen-from-outside',
    sql: `
ALTER TABLE endpoint ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE endpoint ADD COLUMN timed_out INTEGER NOT NULL DEFAULT 0;
CREATE INDEX worker_stopped ON worker (endpoint_id, stopped_at) WHERE state = 'STOPPED';`,
  },
  {
    // Workers of earlier versions were started when they were made.
    name: '0006-admitted-workers',
    sql: 'ALTER TABLE worker ADD COLUMN admitted_at INTEGER; UPDATE worker SET admitted_at = created_at;',
  },
  {
    name: '0007-expiring-endpoints',
    sql: `ALTER TABLE endpoint ADD COLUMN labels TEXT NOT NULL DEFAULT '{}'; ALTER TABLE endpoint ADD COLUMN expires_at INTEGER;`,
  },
  { name: '0008-gpus-of-workers', sql: 'ALTER TABLE worker ADD COLUMN gpus TEXT;' },
  {
    name: '0009-bound-endpoints',
    sql: `INSERT INTO record (kind, id, value) SELECT 'bound-endpoint', json_extract(value, '$.templateId') || '/' || id, '{}'
      FROM record WHERE kind = 'binding' AND json_extract(value, '$.templateId') IS NOT NULL`,
  },
];

/** Brings the schema up to date, one transaction a step. Throws SCHEMA_TOO_NEW when a later version has been here. */
export function migrate(db: Database): void {
  db.exec('CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY) STRICT');
  const done = db
    .prepare('SELECT name FROM migration ORDER BY name')
    .all()
    .map(({ name }) => String(name));
  const unknown = done.find((name) => !MIGRATIONS.some((known) => known.name === name));
  if (unknown) {
    throw new WherryError('SCHEMA_TOO_NEW', `the database has migration '${unknown}', which this version does not know`, {
      hint: 'start the newer version of wherry, or use another data directory',
    });
  }
  for (const { name, sql } of MIGRATIONS.filter((known) => !done.includes(known.name))) {
    db.exec('BEGIN IMMEDIATE');
    db.prepare('INSERT INTO migration (name) VALUES (?)').run(name);
    db.exec(sql);
    db.exec('COMMIT');
  }
}
