// One worker process of the peer: one job at a time, a handler that does nothing. Prints a line once it waits for jobs.
import { Worker } from 'bullmq';

const [redisPort = '', name = ''] = process.argv.slice(2);
const worker = new Worker(name, async () => null, {
  connection: { host: '127.0.0.1', port: Number(redisPort), maxRetriesPerRequest: null },
  concurrency: 1,
});
worker.on('error', (error) => console.error(`peer worker: ${error.message}`));
await worker.waitUntilReady();
console.log('ready');
