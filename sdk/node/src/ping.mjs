// Heartbeats from a worker thread; the ids of the running jobs are read from shared memory, because a blocked main loop cannot answer.
import { Worker } from 'node:worker_threads';

/** Room for the ids of some hundred jobs. */
const SIZE = 32_768;

const SOURCE = `
const { workerData: { url, key, intervalMs, shared } } = require('node:worker_threads');
const { request } = require(url.startsWith('https:') ? 'node:https' : 'node:http');
const head = new Int32Array(shared, 0, 2);
const bytes = new Uint8Array(shared, 8);
function readJobs() {
  for (;;) {
    const version = Atomics.load(head, 0);
    const text = Buffer.from(bytes.subarray(0, Atomics.load(head, 1))).toString();
    if (version % 2 === 0 && Atomics.load(head, 0) === version) return text;
  }
}
function ping() {
  const jobs = readJobs();
  const outgoing = request(url + (jobs ? '&job_id=' + encodeURIComponent(jobs) : ''), { headers: { authorization: key }, timeout: 2 * intervalMs }, (answer) => answer.resume());
  outgoing.on('timeout', () => outgoing.destroy());
  outgoing.on('error', () => {});
  outgoing.end();
}
ping();
// Workers that began together would ping together for ever, and hold each other up.
setTimeout(() => {
  ping();
  setInterval(ping, intervalMs);
}, intervalMs * (0.5 + Math.random() / 2));`;

/** Starts pinging; gives a function that ends it. The ids of `state.jobs` are mirrored into memory that the thread reads. */
export function startPinger({ url, key, intervalMs, state }) {
  const shared = new SharedArrayBuffer(8 + SIZE);
  const head = new Int32Array(shared, 0, 2);
  const bytes = new Uint8Array(shared, 8);
  // The version is odd while the text changes, so that the thread never tells half an id.
  const write = (jobs) => {
    const text = Buffer.from(jobs.map(({ id }) => id).join(',')).subarray(0, SIZE);
    Atomics.add(head, 0, 1);
    bytes.set(text);
    Atomics.store(head, 1, text.length);
    Atomics.add(head, 0, 1);
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
