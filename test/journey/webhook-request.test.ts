import { createServer } from 'node:net';
import { expect, it } from 'vitest';
import { postWebhook } from '../../src/engine/webhook-request.js';
import { createWebhookTargets } from '../../src/engine/webhook-target.js';
import { until } from '../stage.js';

const NEVER = new AbortController().signal;

/** A listener that counts connections and what comes over them, and answers with `text`. */
async function openListener(text = '') {
  const seen = { connections: 0, bytes: 0, isClosed: false };
  const server = createServer((socket) => {
    seen.connections++;
    socket.on('data', (part) => {
      seen.bytes += part.length;
      socket.write(text);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      seen.isClosed = true;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return { seen, url: `http://127.0.0.1:${port}/`, close: () => new Promise((resolve) => server.close(resolve)) };
}

it('looks at the connected peer before it writes a byte, whatever the resolver said (S2, B16)', async () => {
  const listener = await openListener('HTTP/1.1 200 OK\r\n\r\n');
  const strict = createWebhookTargets([]);
  // The URL is let through, as a name would be that changed its address after it was judged.
  const answer = await postWebhook(
    { url: listener.url, body: '{}', headers: {} },
    { refuseUrl: () => undefined, refuseAddress: strict.refuseAddress },
    { timeoutMs: 5_000, signal: NEVER },
  );
  expect(answer).toEqual({ status: null, reason: expect.stringContaining('not an address of the open internet') });
  await until(() => listener.seen.isClosed, 'the connection to end');
  expect(listener.seen).toMatchObject({ connections: 1, bytes: 0 });
  await listener.close();
});

it('gives up on a receiver that does not answer, and on one that never stops (S2)', async () => {
  const targets = createWebhookTargets(['127.0.0.1']);
  const silent = await openListener();
  const sent = { body: '{}', headers: {} };
  expect(await postWebhook({ ...sent, url: silent.url }, targets, { timeoutMs: 300, signal: NEVER })).toEqual({
    status: null,
    reason: 'the receiver did not answer within 300 ms',
  });
  const endless = await openListener(`HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n${'x'.repeat(65_536)}`);
  expect(await postWebhook({ ...sent, url: endless.url }, targets, { timeoutMs: 5_000, signal: NEVER })).toEqual({
    status: 200,
    reason: null,
  });
  await until(() => endless.seen.isClosed, 'the connection to be cut');
  await silent.close();
  await endless.close();
});

it('says when nobody listens, and when the answer is not HTTP', async () => {
  const targets = createWebhookTargets(['127.0.0.1', '::1']);
  const options = { timeoutMs: 5_000, signal: NEVER };
  const gone = await openListener();
  await gone.close();
  for (const url of [gone.url, gone.url.replace('127.0.0.1', 'localhost')]) {
    const { reason } = await postWebhook({ url, body: '{}', headers: {} }, targets, options);
    expect(reason).toContain('ECONNREFUSED');
  }
  const odd = await openListener('hello\r\n\r\n');
  expect((await postWebhook({ url: odd.url, body: '{}', headers: {} }, targets, options)).reason).toContain('not reached');
  await odd.close();
});
