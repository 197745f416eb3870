import { type Delivery, deliveryKeyOf, dueKeyOf, parseDueKey } from '../../domain/delivery.js';
import type { Store } from '../store.js';
import type { CommitQueue } from './commit.js';
import type { Database } from './driver.js';
import type { KnownEndpoints } from './endpoints.js';
import { createRecordWriter } from './records.js';

const JOB_MOMENTS = ['expires_at', 'submitted_at', 'queued_at', 'claimed_at', 'finished_at', 'lease_until', 'retain_until'];
const WORKER_MOMENTS = ['created_at', 'admitted_at', 'ready_at', 'last_seen_at', 'idle_since', 'frozen_at', 'stopped_at'];
const ROLLOUT_MOMENTS = ['started_at', 'proved_at', 'ended_at'];
/** Inside the JSON text of `worker.start`. */
const START_MOMENTS = ['preparedAt', 'madeAt', 'startedAt'];

/** A moment that is not there stays so: NULL plus a number is NULL. */
const moved = (columns: readonly string[]) => columns.map((column) => `${column} = ${column} + ?1`).join(', ');
const movedStart = `start = json_set(start, ${START_MOMENTS.map((name) => `'$.${name}', start ->> '${name}' + ?1`).join(', ')})`;

/** `worker.thaws` holds rows of moments. */
const movedThaws = `thaws = (SELECT json_group_array((SELECT json_group_array(moment.value + ?1) FROM json_each(thaw.value) AS moment)) FROM json_each(thaws) AS thaw)`;

/** Moves stored moments when the wall clock was set; whole tables, but only then. */
export function createMoments(db: Database, commits: CommitQueue, known: KnownEndpoints): Pick<Store, 'moveMoments'> {
  const moveJobs = db.prepare(`UPDATE job SET ${moved(JOB_MOMENTS)}`);
  const moveWorkers = db.prepare(`UPDATE worker SET ${moved(WORKER_MOMENTS)}`);
  const moveRollouts = db.prepare(`UPDATE rollout SET ${moved(ROLLOUT_MOMENTS)}`);
  const moveExpiries = db.prepare('UPDATE endpoint SET expires_at = expires_at + ?1');
  const moveStarts = db.prepare(`UPDATE worker SET ${movedStart} WHERE start IS NOT NULL`);
  const moveThaws = db.prepare(`UPDATE worker SET ${movedThaws} WHERE thaws IS NOT NULL`);
  const listDue = db.prepare(`SELECT id FROM record WHERE kind = 'delivery-due'`);
  const getDelivery = db.prepare(`SELECT value FROM record WHERE kind = 'delivery' AND id = ?`);
  const write = createRecordWriter(db);

  const moveDelivery = (dueKey: string, byMs: number) => {
    const row = getDelivery.get(deliveryKeyOf(parseDueKey(dueKey)));
    const before = row && (JSON.parse(String(row['value'])) as Delivery);
    // One that is not due then any more is left to who sends them.
    if (!before || before.dueAt === null || dueKeyOf(before) !== dueKey) return;
    const after = { ...before, createdAt: before.createdAt + byMs, dueAt: before.dueAt + byMs, seriesAt: before.seriesAt + byMs };
    write({ kind: 'delivery-due', id: dueKey, value: null });
    write({ kind: 'delivery-due', id: dueKeyOf(after), value: {} });
    write({ kind: 'delivery', id: deliveryKeyOf(after), value: after });
  };

  return {
    moveMoments: (byMs, mark) =>
      commits.write(
        () => {
          write({ kind: 'setting', id: 'clock', value: { value: mark } });
          if (byMs === 0) return;
          known.clear();
          for (const statement of [moveJobs, moveWorkers, moveRollouts, moveExpiries, moveStarts, moveThaws]) statement.run(byMs);
          for (const { id } of listDue.all()) moveDelivery(String(id), byMs);
        },
        { isDurable: true },
      ),
  };
}
