import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openStage, type Stage, until } from '../stage.js';

/** A server that runs out of what the machine gives it. */
let stage: Stage;
afterEach(() => stage.close());

function limitFiles(count: number): void {
  const { status, stderr } = spawnSync('prlimit', ['--pid', String(stage.pid), `--nofile=${count}:20000`], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`prlimit failed: ${stderr}`);
}

/** A connection that only holds a descriptor of the server; resolves with whether it was taken. */
function occupy(sockets: Socket[]): Promise<void> {
  const { hostname, port } = new URL(stage.url);
  return new Promise((resolve) => {
    const socket = connect({ host: hostname, port: Number(port) }, resolve);
    socket.on('error', () => resolve());
    sockets.push(socket);
  });
}

/** A client with one connection that was open before. */
function openClient() {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (method: string, path: string, body?: unknown) =>
    new Promise<{ status: number; json: unknown }>((resolve, reject) => {
      const outgoing = request(`${stage.url}${path}`, { method, agent, headers: { authorization: stage.key } }, (answer) => {
        text(answer).then((got) => resolve({ status: answer.statusCode ?? 0, json: JSON.parse(got) }), reject);
      });
      outgoing.on('error', reject);
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
  return { ask, close: () => agent.destroy() };
}

function residentBytes(): number {
  const [, kib = '0'] = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${stage.pid}/status`, 'utf8')) ?? [];
  return Number(kib) * 1024;
}

describe('a server without file descriptors', () => {
  it('serves the connections it has, turns new ones away, and takes them again when descriptors are back (C2)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('files', nodeProject('files', ECHO, 'scale: { min: 1, max: 1, idle: 1h }\n')));
    const client = openClient();
    expect((await client.ask('GET', '/v2/files/health')).status).toBe(200);
    const { pid } = stage;
    const sockets: Socket[] = [];
    limitFiles(150);
    await Promise.all(Array.from({ length: 400 }, () => occupy(sockets)));

    const submitted = await client.ask('POST', '/v2/files/run', { input: { value: 'kept' } });
    expect(submitted.status).toBe(200);
    const { id } = submitted.json as { id: string };
    await until(
      async () => ((await client.ask('GET', `/v2/files/status/${id}`)).json as { status: string }).status === 'COMPLETED',
      'the job',
    );
    await until(
      () =>
        fetch(`${stage.url}/v2/files/health`, { headers: { authorization: stage.key }, signal: AbortSignal.timeout(1_000) }).then(
          () => false,
          () => true,
        ),
      'a new connection to be turned away',
    );

    for (const socket of sockets) socket.destroy();
    limitFiles(20_000);
    await until(
      () =>
        stage.call('/v2/files/health').then(
          ({ status }) => status === 200,
          () => false,
        ),
      'new connections',
    );
    expect(await stage.runsync('files', { value: 'after' })).toMatchObject({ status: 'COMPLETED', output: 'after' });
    expect(stage.pid).toBe(pid);
    client.close();
  }, 60_000);
});

describe('a server with ten thousand queued jobs', () => {
  it('stays below 300 MB, and none of them is lost over a kill (C2)', async () => {
    stage = await openStage();
    await stage.cli('deploy', stage.project('many', nodeProject('many', ECHO)));
    await stage.call('/api/v1/endpoints/many', { method: 'PATCH', body: { settings: { scale: { max: 0 }, limits: { queueJobs: 0 } } } });
    const input = { value: 'x'.repeat(500) };
    for (let sent = 0; sent < 10_000; sent += 500) {
      const jobs = await Promise.all(Array.from({ length: 500 }, () => stage.submit('many', input)));
      expect(jobs.every(({ status }) => status === 'IN_QUEUE')).toBe(true);
    }
    expect(residentBytes()).toBeLessThan(300 * 1024 * 1024);
    await stage.kill();
    await stage.restart();
    expect((await stage.call('/v2/many/health')).json).toMatchObject({ jobs: { inQueue: 10_000 } });
    expect((await stage.call('/v2/many/purge-queue', { method: 'POST' })).json).toMatchObject({ removed: 10_000 });
  }, 90_000);
});
