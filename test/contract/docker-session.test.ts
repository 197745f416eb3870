import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type Log, silentLog } from '../../src/base/log.js';
import { parseEngineAddress } from '../../src/runtime/docker/engine-api.js';
import { createSession } from '../../src/runtime/docker/session.js';
import { until } from '../stage.js';

const closings: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closings.splice(0).reverse()) await close();
});

/** The few routes of an engine that a connection needs; its events never end by themselves. */
async function openEngine() {
  let streams = 0;
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    if (!path.includes('/events')) return void response.end(JSON.stringify({ ApiVersion: '1.41', Version: '20', NCPU: 1, MemTotal: 1 }));
    streams++;
    response.on('close', () => streams--);
    response.writeHead(200).flushHeaders();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closings.push(
    () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  return { address: parseEngineAddress(`tcp://127.0.0.1:${(server.address() as AddressInfo).port}`), streams: () => streams };
}

describe('the connection to an engine', () => {
  it('pauses before it tries again when what is there cannot be taken over, says so once and leaves no stream behind', async () => {
    const { address, streams } = await openEngine();
    const triedAt: number[] = [];
    const warnings: unknown[] = [];
    const log: Log = { ...silentLog, warn: (...line: readonly unknown[]) => void warnings.push(line) };
    const session = createSession({
      ...{ address, instanceId: 'i', log, now: Date.now, onLose: () => {}, onEvent: () => {} },
      onConnect: async () => {
        triedAt.push(Date.now());
        throw new Error("network 'n' has no IPv4 gateway");
      },
    });
    closings.push(() => session.stop());
    await session.start();
    await until(() => triedAt.length === 3, 'three tries');
    const pauses = triedAt.slice(1).map((at, index) => at - (triedAt[index] ?? 0));
    // Timers may fire a moment early.
    expect(pauses.every((ms) => ms >= 450)).toBe(true);
    expect(warnings).toHaveLength(1);
    await until(() => streams() === 0, 'the streams of events to end');
  });
});
