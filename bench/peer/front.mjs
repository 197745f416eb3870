// The peer's HTTP front: POST /run adds a job to a BullMQ queue, GET /status-sync/{id} waits for its end. Prints its port.
import { createServer } from 'node:http';
import { Job, Queue, QueueEvents } from 'bullmq';

const [redisPort = '', name = ''] = process.argv.slice(2);
const connection = { host: '127.0.0.1', port: Number(redisPort), maxRetriesPerRequest: null };
const queue = new Queue(name, { connection });
const events = new QueueEvents(name, { connection });
events.setMaxListeners(0);
queue.setMaxListeners(0);
await Promise.all([queue.waitUntilReady(), events.waitUntilReady()]);

const WAIT_MS = 90_000;
/** Jobs that were added here and not asked for yet: spares the peer a read that a front would have to make after a restart. */
const added = new Map();

function readBody(request) {
  return new Promise((resolve, reject) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => resolve(Buffer.concat(parts).toString()));
    request.on('error', reject);
  });
}

async function run(request) {
  const { input } = JSON.parse(await readBody(request));
  const job = await queue.add('job', input);
  added.set(job.id, job);
  return { id: job.id, status: 'IN_QUEUE' };
}

async function statusSync(id) {
  const job = added.get(id) ?? (await Job.fromId(queue, id));
  added.delete(id);
  const output = await job.waitUntilFinished(events, WAIT_MS);
  return { id, status: 'COMPLETED', output };
}

function send(response, status, value) {
  const text = JSON.stringify(value);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

const server = createServer((request, response) => {
  const answered = request.method === 'POST' ? run(request) : statusSync(request.url.slice('/status-sync/'.length));
  answered.then(
    (value) => send(response, 200, value),
    (error) => send(response, 500, { error: error.message }),
  );
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
