// Heartbeats from a worker thread; the ids of the running jobs are read from shared memory, because a blocked main loop cannot answer.
import { Worker } from 'node:worker_threads';

/** Room for the ids of some hundred jobs. */
const SIZE = 32_768;

const SOURCE = `
const { workerData: { url, key, intervalMs, shared } } = require('node:worker_threads');
const { request } = require('node:http');
const length = new Int32Array(shared, 0, 1);
const bytes = new Uint8Array(shared, 4);
function ping() {
  const jobs = Buffer.from(bytes.subarray(0, Atomics.load(length, 0))).toString();
  const outgoing = request(url + (jobs ? '&job_id=' + encodeURIComponent(jobs) : ''), { headers: { authorization: key }, timeout: 2 * intervalMs }, (answer) => answer.resume());
  outgoing.on('timeout', () => outgoing.destroy());
  outgoing.on('error', () => {});
  outgoing.end();
}
ping();
setInterval(ping, intervalMs);`;

/** Starts pinging; gives a function that ends it. The ids of `state.jobs` are mirrored into memory that the thread reads. */
export function startPinger({ url, key, intervalMs, state }) {
  const shared = new SharedArrayBuffer(4 + SIZE);
  const length = new Int32Array(shared, 0, 1);
  const bytes = new Uint8Array(shared, 4);
  const write = (jobs) => {
    const text = Buffer.from(jobs.map(({ id }) => id).join(',')).subarray(0, SIZE);
    bytes.set(text);
    Atomics.store(length, 0, text.length);
  };
  let { jobs } = state;
  write(jobs);
  Object.defineProperty(state, 'jobs', {
    get: () => jobs,
    set: (next) => {
      jobs = next;
      write(next);
    },
  });
  const thread = new Worker(SOURCE, { eval: true, workerData: { url, key, intervalMs, shared } });
  thread.on('error', () => {});
  thread.unref();
  return () => void thread.terminate();
}
