import type { ChunkPart } from '../../domain/stream.js';
import type { Store } from '../store.js';
import type { CommitQueue } from './commit.js';
import type { Database } from './driver.js';

type StreamVerbs = Pick<Store, 'report' | 'readChunks'>;

/** Progress and stream chunks of running jobs on SQLite. Not flushed: what a run said is said again when it has to run again. */
export function createStreams(db: Database, commits: CommitQueue): StreamVerbs {
  const sql = prepare(db);

  const read = (jobId: string, workerId: string, after: number): ChunkPart => {
    const rows = sql.read.all(jobId, after);
    return { chunks: rows.map(({ output }) => String(output)), mark: { workerId, number: Number(rows.at(-1)?.['number'] ?? after) } };
  };

  const placeOf = (jobId: string) => {
    const row = sql.place.get(jobId) ?? {};
    return {
      workerId: String(row['worker_id'] ?? ''),
      chunks: Number(row['chunks'] ?? 0),
      delivered: Number(row['chunks_delivered'] ?? 0),
    };
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
      const place = placeOf(jobId);
      if (after !== 'delivered') return read(jobId, place.workerId, after?.workerId === place.workerId ? after.number : 0);
      if (place.chunks === place.delivered) return { chunks: [], mark: { workerId: place.workerId, number: place.delivered } };
      return commits.write(() => {
        const { workerId, delivered } = placeOf(jobId);
        const found = read(jobId, workerId, delivered);
        if (found.mark.number > delivered) sql.deliver.run(found.mark.number, jobId);
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
    place: db.prepare('SELECT worker_id, chunks, chunks_delivered FROM job WHERE id = ?'),
    deliver: db.prepare('UPDATE job SET chunks_delivered = ? WHERE id = ?'),
  };
}
