import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { limitReader, limitStall } from '../../src/server/stall.js';

const IDLE_MS = 500;
const LEAST_BYTES = 2;
let server: Server;
/** The answer waits this long after the body. */
let holdMs = 0;
beforeEach(async () => {
  server = createServer((request, response) => {
    limitStall(request, response, { idleMs: IDLE_MS, leastBytes: LEAST_BYTES });
    request.resume().on('end', () => setTimeout(() => response.end('whole'), holdMs));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterEach(() => new Promise((resolve) => void server.close(resolve)));

/** Sends parts with pauses; gives all that came until the server closed or answered. */
function send(parts: readonly string[], pauseMs: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    let got = '';
    for (const [index, part] of parts.entries()) setTimeout(() => socket.write(part), index * pauseMs);
    socket.on('data', (data) => {
      got += data;
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(got));
  });
}

const HEAD = 'PATCH / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n';

it('ends a request whose body stops coming', async () => {
  expect(await send([HEAD, 'a'], 10)).toBe('');
});

it('leaves a slow body alone while enough bytes come', async () => {
  expect(await send([HEAD, 'a', 'b', 'c', 'd'], IDLE_MS / 4)).toContain('whole');
});

it('leaves a held answer alone once the body is there', async () => {
  holdMs = 3 * IDLE_MS;
  expect(await send([`${HEAD}abcd`], 0)).toContain('whole');
});

it('ends a body that only trickles (C3)', async () => {
  const head = HEAD.replace('Length: 4', 'Length: 40');
  expect(await send([head, ...'x'.repeat(40)], IDLE_MS * 0.8)).toBe('');
});

it('ends the connection of a reader that takes nothing of its answer (C3)', async () => {
  const large = createServer((_, response) => {
    response.end('x'.repeat(64 * 1024 * 1024));
    limitReader(response, IDLE_MS);
  });
  await new Promise<void>((resolve) => large.listen(0, '127.0.0.1', resolve));
  try {
    const closed = new Promise<void>((resolve) => {
      large.once('connection', (socket) => socket.once('close', () => resolve()));
    });
    const socket = connect((large.address() as AddressInfo).port, '127.0.0.1');
    socket.on('error', () => {});
    socket.pause();
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await closed;
    socket.destroy();
  } finally {
    await new Promise((resolve) => void large.close(resolve));
  }
});
