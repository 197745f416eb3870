import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../stage.js';
import { needsWall, openWall, type Wall } from '../wall.js';
import { type Kind, NODE, PYTHON } from './programs.js';

/** A worker whose process was suspended with a poll open for longer than any of its limits: what frozen ones live through. */
let wall: Wall;
let server: Server;
let dir: string;
let worker: ChildProcess;
let printed: string;
/** Polls that are open, oldest first. */
let polls: ServerResponse[];
let taken: number;
let results: unknown[];

beforeEach(async () => {
  wall = openWall({ isTime: true });
  dir = mkdtempSync(join(tmpdir(), 'wherry-suspension-'));
  [printed, polls, taken, results] = ['', [], 0, []];
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      if (request.url?.includes('/job-take/')) {
        taken++;
        polls.push(response);
        return;
      }
      if (request.url?.includes('/job-done/')) results.push((JSON.parse(Buffer.concat(parts).toString()) as { output: unknown }).output);
      // Else it waits for its next job with the result, and is given none.
      response.end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(async () => {
  worker.kill('SIGKILL');
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(dir, { recursive: true, force: true });
  wall.close();
});

function run(kind: Kind, handler: string): void {
  const file = join(dir, kind.file);
  writeFileSync(file, kind.source + kind.start(handler));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/e`;
  const [command = '', ...rest] = kind.command(file);
  worker = spawn(command, rest, {
    cwd: dir,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      ...wall.env,
      ...kind.env,
      RUNPOD_WEBHOOK_GET_JOB: `${base}/job-take/$ID?gpu=CPU`,
      RUNPOD_WEBHOOK_POST_OUTPUT: `${base}/job-done/$RUNPOD_POD_ID/$ID?gpu=CPU`,
      RUNPOD_WEBHOOK_PING: `${base}/ping/$RUNPOD_POD_ID?gpu=CPU`,
      RUNPOD_POD_ID: 'w-1',
      RUNPOD_AI_API_KEY: 'key',
    },
  });
  for (const stream of [worker.stdout, worker.stderr]) stream?.on('data', (part: Buffer) => (printed += part.toString()));
}

async function suspend(): Promise<void> {
  worker.kill('SIGSTOP');
  await until(() => / T /.test(readFileSync(`/proc/${worker.pid}/stat`, 'utf8')), 'the worker to be stopped');
}

const ENDINGS = [
  { how: 'an empty answer', end: (poll: ServerResponse) => poll.writeHead(204).end() },
  { how: 'a connection that is closed', end: (poll: ServerResponse) => poll.destroy() },
] as const;
const HANDLERS = [
  { kind: NODE, handler: 'ok' },
  { kind: PYTHON, handler: 'ok' },
  { kind: PYTHON, handler: 'works' },
] as const;

describe.runIf(needsWall())('a worker that was suspended for an hour while it waited', () => {
  for (const { how, end } of ENDINGS) {
    it.each(HANDLERS)(`asks anew at once after ${how}, and serves: $kind.name, handler $handler (B7)`, async ({ kind, handler }) => {
      run(kind, handler);
      for (let hours = 1; hours <= 2; hours++) {
        const poll = await until(() => polls.shift(), `a poll; ${printed}`);
        await suspend();
        const before = taken;
        end(poll);
        wall.set(hours * 3_600);
        worker.kill('SIGCONT');
        await until(() => taken > before, `another poll; ${printed}`, 3_000);
        const body = JSON.stringify({ id: `job-${hours}`, input: { sleepMs: 0 } });
        polls.shift()?.writeHead(200, { 'content-type': 'application/json' }).end(body);
        await until(() => results.length === hours, `a result; ${printed}`);
      }
      expect(results).toEqual(handler === 'ok' ? ['ok', 'ok'] : ['job-1', 'job-2']);
      expect(worker.exitCode).toBeNull();
    });
  }
});
