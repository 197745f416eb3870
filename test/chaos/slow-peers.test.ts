import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openStage, type Stage, until } from '../stage.js';

/** Peers that send or read as slowly as they can, or only hold connections, while others are served. */
let stage: Stage;
const sockets: Socket[] = [];
beforeAll(async () => {
  stage = await openStage();
  await stage.cli('deploy', stage.project('slow', nodeProject('slow', ECHO, 'scale: { min: 1, max: 1, idle: 1h }\n')));
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await stage.close();
});

function open(): Promise<Socket> {
  const { hostname, port } = new URL(stage.url);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) });
    sockets.push(socket);
    socket.once('connect', () => resolve(socket));
    socket.once('error', reject);
    socket.on('error', () => {});
  });
}

const closed = (socket: Socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()));
const lines = (...parts: readonly string[]) => `${parts.join('\r\n')}\r\n`;
const head = (method: string, path: string) => lines(`${method} ${path} HTTP/1.1`, 'host: slow', `authorization: ${stage.key}`);

/** The slowest of most requests: their 99th percentile in ms. */
async function measure(): Promise<number> {
  const times: number[] = [];
  for (let n = 0; n < 200; n++) {
    const from = performance.now();
    expect(await stage.runsync('slow', { value: n })).toMatchObject({ status: 'COMPLETED', output: n });
    times.push(performance.now() - from);
  }
  return times.sort((a, b) => a - b)[197] ?? 0;
}

const IDLE = 5_000;

describe('slow and silent peers', () => {
  it('do not slow the others down; a head that never ends is cut (C3)', async () => {
    const calm = await measure();

    // Five thousand that say nothing, in portions that the kernel's queue of new connections holds.
    for (let opened = 0; opened < IDLE; opened += 100) await Promise.all(Array.from({ length: 100 }, open));
    const dripping = await Promise.all(Array.from({ length: 50 }, open));
    for (const socket of dripping) socket.write(head('POST', '/v2/slow/run'));
    const bodies = await Promise.all(Array.from({ length: 50 }, open));
    for (const socket of bodies) socket.write(`${head('POST', '/v2/slow/run')}${lines('content-length: 100000', '')}{`);
    const readers = await Promise.all(Array.from({ length: 50 }, open));
    const large = await stage.runsync('slow', { value: 'x'.repeat(1_000_000) });
    for (const socket of readers) {
      socket.pause();
      socket.write(`${head('GET', `/v2/slow/status/${large.id}`)}\r\n`.repeat(5));
    }
    const cut = dripping.map(closed);
    const drip = setInterval(() => {
      for (const socket of dripping) socket.write('x');
      for (const socket of bodies) socket.write(' ');
    }, 1_000);
    try {
      // One calm round is enough: a busy machine may spoil some.
      const isCalm = async () => (await measure()) < 2 * calm;
      let rounds = 0;
      await until(async () => ++rounds > 0 && (await isCalm()), 'a round like before', 40_000);
      await Promise.all(cut);
    } finally {
      clearInterval(drip);
    }
    expect(await stage.runsync('slow', { value: 'after' })).toMatchObject({ output: 'after' });
  }, 150_000);
});
