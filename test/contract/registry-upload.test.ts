import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import { digestOf } from '../../src/oci/digest.js';
import { createRegistryClient, type RegistryClient } from '../../src/registry/client.js';
import { listen, openRegistryServer } from './registry-server.js';

/** Above the size up to which a broken upload is sent again whole. */
const BYTES = Buffer.alloc(8 * 1024 * 1024, 'wherry');
const BLOB = { digest: digestOf(BYTES), size: BYTES.length };

/** What was asked for, and how: `PATCH`, or `PATCH from 1234`. */
type Asked = string[];
type Gate = (request: IncomingMessage, response: ServerResponse, asked: Asked) => boolean;

async function* stream() {
  for (let at = 0; at < BYTES.length; at += 65_536) yield BYTES.subarray(at, at + 65_536);
}

let registry: Awaited<ReturnType<typeof openRegistryServer>>;
let closers: (() => Promise<void>)[];
beforeEach(async () => {
  registry = await openRegistryServer();
  closers = [registry.close];
});
afterEach(async () => {
  for (const close of closers.reverse()) await close();
});

/** A client of the registry behind a gate, which is true for what it answers itself. */
async function behind(gate: Gate): Promise<{ client: RegistryClient; asked: Asked }> {
  const asked: Asked = [];
  const server = await listen((request, response) => {
    const from = /^\d+/.exec(request.headers['content-range'] ?? '')?.[0];
    asked.push(`${request.method}${from === undefined ? '' : ` from ${from}`}`);
    if (!gate(request, response, asked)) void registry.handle(request, response, { canPush: true });
  });
  const client = createRegistryClient({ registry: server.host, log: silentLog, retryDelayMs: 1 });
  closers.push(server.close, () => client.close());
  return { client, asked };
}

/** Cuts the line of a request after so many of its bytes; the registry has had most of them by then. */
function cutAfter({ socket }: IncomingMessage, bytes: number): void {
  const before = socket.bytesRead;
  const looking = setInterval(() => {
    if (socket.bytesRead - before > bytes || socket.destroyed) {
      clearInterval(looking);
      socket.destroy();
    }
  }, 1);
}

const patches = (asked: Asked) => asked.filter((each) => each.startsWith('PATCH'));
const put = (client: RegistryClient) => client.putBlob('a', BLOB, stream);
const isThere = async () => {
  const client = createRegistryClient({ registry: registry.host, log: silentLog });
  closers.push(() => client.close());
  return (await client.findBlob('a', BLOB.digest))?.size === BLOB.size;
};

it('tells of the bytes of a large blob as they go out', async () => {
  const { client } = await behind(() => false);
  const sent: number[] = [];
  expect(await client.putBlob('a', BLOB, stream, { onSent: (bytes) => sent.push(bytes) })).toBe(true);
  expect(sent.length).toBeGreaterThan(1);
  expect(sent.reduce((sum, bytes) => sum + bytes, 0)).toBe(BLOB.size);
});

describe('an upload that breaks', () => {
  it('goes on behind the last byte that the registry has (D2)', async () => {
    const { client, asked } = await behind((request, _response, before) => {
      if (request.method === 'PATCH' && patches(before).length <= 2) cutAfter(request, 2 * 1024 * 1024);
      return false;
    });
    expect(await put(client)).toBe(true);
    expect(await isThere()).toBe(true);
    const from = patches(asked).map((each) => Number(each.split(' ')[2] ?? 0));
    expect(from[0]).toBe(0);
    expect(from.slice(1).every((at, index) => at > (from[index] ?? 0))).toBe(true);
    expect(asked.filter((each) => each === 'POST')).toHaveLength(1);
  });

  it.each([404, 405])('begins anew where the registry cannot say how far it came (%i)', async (status) => {
    const { client, asked } = await behind((request, response, before) => {
      if (request.method === 'PATCH' && patches(before).length === 1) cutAfter(request, 1024 * 1024);
      return request.method === 'GET' && Boolean(response.writeHead(status).end());
    });
    expect(await put(client)).toBe(true);
    expect(await isThere()).toBe(true);
    expect(patches(asked)).toEqual(['PATCH', 'PATCH']);
    expect(asked.filter((each) => each === 'POST')).toHaveLength(2);
  });

  it('is done when only the last answer was lost', async () => {
    const { client, asked } = await behind((request, response) => {
      if (request.method === 'PUT') Object.assign(response, { end: () => response.destroy() });
      return false;
    });
    expect(await put(client)).toBe(true);
    expect(asked.filter((each) => each === 'PUT')).toHaveLength(1);
  });

  it('waits as long as the registry asks', async () => {
    const at: number[] = [];
    const { client } = await behind((request, response) => {
      if (request.method !== 'PATCH') return false;
      at.push(performance.now());
      if (at.length > 1) return false;
      request.resume().once('end', () => response.writeHead(503, { 'retry-after': '1' }).end());
      return true;
    });
    expect(await put(client)).toBe(true);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThan(900);
  });

  it('ends after five tries that brought nothing', async () => {
    const { client, asked } = await behind((request, response) => request.method === 'PATCH' && Boolean(response.destroy()));
    await expect(put(client)).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE' });
    expect(patches(asked)).toHaveLength(5);
    expect(await isThere()).toBe(false);
  });

  const PAGE = '<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body><hr><center>a proxy</center></body></html>\r\n';
  const LIST = '{"errors":[{"code":"DENIED","message":"the layer is larger than 5 GiB","detail":null}]}';
  it.each([
    [413, PAGE, '413: 413 Request Entity Too Large', 'INPUT_TOO_LARGE'],
    [413, LIST, '413: DENIED the layer is larger than 5 GiB', 'INPUT_TOO_LARGE'],
    [413, '', '413', 'INPUT_TOO_LARGE'],
    [507, 'the disk\u001b[2J\nis full', '507: the disk [2J is full', 'INPUT_TOO_LARGE'],
    [412, LIST, '412: DENIED the layer is larger than 5 GiB', 'DENIED'],
    [403, LIST, '403: DENIED the layer is larger than 5 GiB', 'DENIED'],
  ])(
    'is not tried again when the registry refuses its size, and says who refused and why (row 7): %i %j',
    async (status, page, words, code) => {
      const { client, asked } = await behind((request, response) => {
        if (request.method !== 'PATCH') return false;
        // As proxies do: answered at the head, without a look at the bytes.
        response.writeHead(status, { connection: 'close' }).end(page);
        return true;
      });
      const refused = (await put(client).catch((thrown: unknown) => thrown)) as { message: string };
      expect(refused).toMatchObject({
        code,
        message: expect.stringMatching(/^registry '127\.0\.0\.1:\d+' refused PATCH \/v2\/a\/blobs\/uploads\//),
      });
      expect(refused.message.split(' with ')[1]).toBe(words);
      expect(patches(asked)).toHaveLength(1);
    },
  );
});
