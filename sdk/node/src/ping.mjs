// Heartbeats from a worker thread; the running job's id is read from shared memory, because a blocked main loop cannot answer.
import { Worker } from 'node:worker_threads';

const SOURCE = `
const { workerData: { url, key, intervalMs, shared } } = require('node:worker_threads');
const { request } = require('node:http');
const bytes = new Uint8Array(shared);
function ping() {
  const job = Buffer.from(bytes.subarray(1, 1 + bytes[0])).toString();
  const outgoing = request(url + (job ? '&job_id=' + encodeURIComponent(job) : ''), { headers: { authorization: key }, timeout: 2 * intervalMs }, (answer) => answer.resume());
  outgoing.on('timeout', () => outgoing.destroy());
  outgoing.on('error', () => {});
  outgoing.end();
}
ping();
setInterval(ping, intervalMs);`;

/** Starts pinging; gives a function that ends it. `state.job` is mirrored into memory that the thread reads. */
export function startPinger({ url, key, intervalMs, state }) {
  const shared = new SharedArrayBuffer(256);
  const bytes = new Uint8Array(shared);
  const write = (job) => {
    const text = Buffer.from(job ?? '').subarray(0, 255);
    bytes.set(text, 1);
    bytes[0] = text.length;
  };
  let job = state.job;
  write(job);
  Object.defineProperty(state, 'job', {
    get: () => job,
    set: (next) => {
      job = next;
      write(next);
    },
  });
  const thread = new Worker(SOURCE, { eval: true, workerData: { url, key, intervalMs, shared } });
  thread.on('error', () => {});
  thread.unref();
  return () => void thread.terminate();
}
