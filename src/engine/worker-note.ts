import type { Core } from './core.js';
import { writeSystemLine } from './system-line.js';

/** Stores a step on the way to a running worker; what happens to the worker does not depend on a line about it. */
export async function recordNote(core: Core, workerId: string, text: string): Promise<void> {
  const worker = await core.store.getWorker(workerId);
  if (!worker || worker.state === 'STOPPED' || core.life.isStopped) return;
  if (worker.state === 'INITIALIZING') core.lastNotes.set(workerId, text);
  await writeSystemLine(core, worker, text);
}
