import type { Store } from '../store.js';
import type { CommitQueue } from './commit.js';
import type { Database } from './driver.js';

type StreamVerbs = Pick<Store, 'report' | 'readChunks'>;

/** Progress and stream chunks of running jobs on SQLite. Not flushed: what a run said is said again when it has to run again. */
export function createStreams(db: Database, commits: CommitQueue): StreamVerbs {
  const sql = prepare(db);

  const read = (jobId: string, after: number) => {
    const rows = sql.read.all(jobId, after);
    return { chunks: rows.map(({ output }) => String(output)), last: Number(rows.at(-1)?.['number'] ?? after) };
  };

  return {
    report: ({ jobId, workerId, progress, chunks = [], post = null }) =>
      commits.write(() => {
        const bytes = chunks.reduce((sum, chunk) => sum + Buffer.byteLength(chunk), 0);
        const row = sql.report.get(progress ?? null, chunks.length, bytes, jobId, workerId, post);
        if (!row) return undefined;
        const count = Number(row['chunks']);
        for (const [at, chunk] of chunks.entries()) sql.add.run(jobId, count - chunks.length + at + 1, chunk);
        return { chunks: count, streamBytes: Number(row['stream_bytes']) };
      }),

    // A reader that waits looks often: without a new chunk there is nothing to write.
    readChunks: async ({ jobId, after }) => {
      if (after !== 'delivered') return read(jobId, after);
      const mark = sql.undelivered.get(jobId);
      if (!mark) return { chunks: [], last: 0 };
      return commits.write(() => {
        const from = Number(sql.delivered.get(jobId)?.['chunks_delivered'] ?? 0);
        const found = read(jobId, from);
        if (found.last > from) sql.deliver.run(found.last, jobId);
        return found;
      });
    },
  };
}

function prepare(db: Database) {
  return {
    report:
      db.prepare(`UPDATE job SET output = coalesce(?1, output), is_confirmed = 1, chunks = chunks + ?2, stream_bytes = stream_bytes + ?3,
      stream_posts = coalesce(?6, stream_posts + (?2 > 0))
      WHERE id = ?4 AND worker_id = ?5 AND state = 'IN_PROGRESS' AND (?6 IS NULL OR stream_posts < ?6) RETURNING chunks, stream_bytes`),
    add: db.prepare('INSERT INTO chunk (job_id, number, output) VALUES (?, ?, ?)'),
    read: db.prepare('SELECT number, output FROM chunk WHERE job_id = ? AND number > ? ORDER BY number'),
    undelivered: db.prepare('SELECT 1 FROM job WHERE id = ? AND chunks > chunks_delivered'),
    delivered: db.prepare('SELECT chunks_delivered FROM job WHERE id = ?'),
    deliver: db.prepare('UPDATE job SET chunks_delivered = ? WHERE id = ?'),
  };
}
