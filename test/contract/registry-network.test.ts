import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { createServer as createTlsServer, type Server } from 'node:https';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { silentLog } from '../../src/base/log.js';
import { openRemoteRegistry } from '../../src/compose-registry.js';
import { digestOf } from '../../src/oci/digest.js';
import { openRegistryServer } from './registry-server.js';

/** Hosts that only the proxy finds. */
const SECURE_HOST = 'registry.test';
const PLAIN_HOST = 'plain.test:5000';
const DIGEST = digestOf('nothing');

let dir: string;
let registry: Awaited<ReturnType<typeof openRegistryServer>>;
let secure: Server;
let closers: (() => Promise<unknown> | unknown)[];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'wherry-network-'));
  registry = await openRegistryServer();
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  const names = `subjectAltName=DNS:${SECURE_HOST},IP:127.0.0.1`;
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  const subject = ['-nodes', '-days', '2', '-subj', '/CN=test', '-addext', names];
  execFileSync('openssl', ['req', '-x509', ...curve, ...subject, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  secure = createTlsServer({ key: readFileSync(key), cert: readFileSync(cert) }, (asked, answer) => {
    void registry.handle(asked, behindTls(answer), { canPush: true });
  }).listen(0, '127.0.0.1');
  await once(secure, 'listening');
  closers = [() => rmSync(dir, { recursive: true, force: true }), registry.close, () => secure.close(), () => secure.closeAllConnections()];
});
afterEach(async () => {
  for (const close of closers.reverse()) await close();
});

/** As a registry answers that does not know that a proxy in front of it speaks TLS. */
function behindTls(answer: ServerResponse): ServerResponse {
  const writeHead = answer.writeHead.bind(answer) as (status: number, headers?: Record<string, string>) => ServerResponse;
  const rewritten = (status: number, headers: Record<string, string> = {}) =>
    writeHead(status, { ...headers, ...(headers['location'] && { location: `http://${SECURE_HOST}${headers['location']}` }) });
  return Object.assign(answer, { writeHead: rewritten });
}

/** A forward proxy that wants a password; it knows the hosts of these tests. Gives what it was asked for. */
async function openProxy() {
  const asked: string[] = [];
  const wanted = `Basic ${Buffer.from('proxy:secret').toString('base64')}`;
  const sockets = new Set<Socket>();
  const proxy = createHttpServer((given: IncomingMessage, answer) => {
    asked.push(`${given.method} ${given.url}`);
    if (given.headers['proxy-authorization'] !== wanted) return void answer.writeHead(407).end();
    const { pathname, search } = new URL(given.url ?? '');
    const options = { method: given.method, headers: given.headers };
    given.pipe(
      request(`${registry.url}${pathname}${search}`, options, (got) => got.pipe(answer.writeHead(got.statusCode ?? 502, got.headers))),
    );
  });
  proxy.on('connect', (given: IncomingMessage, socket: Socket) => {
    asked.push(`CONNECT ${given.url}`);
    if (given.headers['proxy-authorization'] !== wanted) return void socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
    const onward = connect((secure.address() as AddressInfo).port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      onward.pipe(socket).pipe(onward);
    });
    for (const each of [socket, onward]) sockets.add(each.on('error', () => {}));
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  closers.push(
    () => proxy.close(),
    () => sockets.forEach((socket) => void socket.destroy()),
    () => proxy.closeAllConnections(),
  );
  const { port } = proxy.address() as AddressInfo;
  return { asked, address: `http://proxy:secret@127.0.0.1:${port}`, badAddress: `http://proxy:wrong@127.0.0.1:${port}` };
}

async function open(host: string, environment: Record<string, string>) {
  const client = await openRemoteRegistry(host, { HOME: dir, ...environment }, { log: silentLog });
  closers.push(() => client.close());
  return client;
}

const ca = () => ({ WHERRY_REGISTRY_CA: join(dir, 'cert.pem') });

describe('a registry behind a proxy', () => {
  it('is reached by https through HTTPS_PROXY, with the authority of WHERRY_REGISTRY_CA', async () => {
    const proxy = await openProxy();
    const client = await open(SECURE_HOST, { HTTPS_PROXY: proxy.address, ...ca() });
    const bytes = Buffer.alloc(2_000_000, 'wherry');
    const blob = { digest: digestOf(bytes), size: bytes.length };
    expect(
      await client.putBlob('a', blob, async function* open() {
        yield bytes;
      }),
    ).toBe(true);
    expect(await client.findBlob('a', blob.digest)).toEqual(blob);
    expect(new Set(proxy.asked)).toEqual(new Set([`CONNECT ${SECURE_HOST}:443`]));
  });

  it('is reached in the clear through HTTP_PROXY when WHERRY_REGISTRY_PLAIN_HTTP names it', async () => {
    const proxy = await openProxy();
    const client = await open(PLAIN_HOST, { http_proxy: proxy.address, WHERRY_REGISTRY_PLAIN_HTTP: `other.test, ${PLAIN_HOST}` });
    expect(await client.findBlob('a', DIGEST)).toBeUndefined();
    expect(proxy.asked).toEqual([`HEAD http://${PLAIN_HOST}/v2/a/blobs/${DIGEST}`]);
  });

  it('is not asked for through a proxy of the other scheme, nor when NO_PROXY names it', async () => {
    const proxy = await openProxy();
    const unreachable = { code: 'REGISTRY_UNAVAILABLE', message: expect.stringContaining(SECURE_HOST) };
    for (const environment of [{ HTTP_PROXY: proxy.address }, { HTTPS_PROXY: proxy.address, NO_PROXY: '.test' }]) {
      await expect((await open(SECURE_HOST, environment)).findBlob('a', DIGEST)).rejects.toMatchObject(unreachable);
    }
    expect(proxy.asked).toEqual([]);
  }, 30_000);

  it('is never one of this machine', async () => {
    const proxy = await openProxy();
    const client = await open(registry.host, { HTTP_PROXY: proxy.address, HTTPS_PROXY: proxy.address });
    expect(await client.findBlob('a', DIGEST)).toBeUndefined();
    expect(proxy.asked).toEqual([]);
  });

  it('cannot be reached when the proxy refuses, and the password of the proxy is told to nobody', async () => {
    const proxy = await openProxy();
    const failed = (await open(SECURE_HOST, { HTTPS_PROXY: proxy.badAddress, ...ca() })).findBlob('a', DIGEST);
    await expect(failed).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE', message: expect.stringContaining('407') });
    await failed.catch((thrown: Error) => expect(`${thrown.stack} ${JSON.stringify(thrown)}`).not.toContain('wrong'));
  }, 30_000);
});

describe('settings of the network', () => {
  it('trust no authority that was not named', async () => {
    const proxy = await openProxy();
    const failed = (await open(SECURE_HOST, { HTTPS_PROXY: proxy.address })).findBlob('a', DIGEST);
    await expect(failed).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE', hint: expect.stringContaining('WHERRY_REGISTRY_CA') });
  });

  it('keep other hosts from being reached in the clear', async () => {
    const proxy = await openProxy();
    const failed = (await open(PLAIN_HOST, { http_proxy: proxy.address })).findBlob('a', DIGEST);
    await expect(failed).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE' });
    expect(proxy.asked).toEqual([]);
  }, 30_000);

  it.each([
    ['HTTPS_PROXY', 'socks5://user:hidden@127.0.0.1:1080'],
    ['HTTP_PROXY', 'http://'],
    ['WHERRY_REGISTRY_CA', '/nowhere/ca.pem'],
  ])('are refused when %s is wrong', async (name, value) => {
    const failed = open('registry.test', { [name]: value });
    await expect(failed).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining(name) });
    await failed.catch((thrown: Error) => expect(thrown.message).not.toContain('hidden'));
  });

  it('refuse a file of authorities without a certificate', async () => {
    writeFileSync(join(dir, 'empty.pem'), 'nothing');
    await expect(open('registry.test', { WHERRY_REGISTRY_CA: join(dir, 'empty.pem') })).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});
