import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server as HttpServer, type RequestListener } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { ROOT } from '../stage.js';

/** The Node SDK's HTTP client, which has no types of its own. */
interface Reader {
  readonly status: number;
  readonly isDone: boolean;
  readonly isBroken: boolean;
  readonly isReusable: boolean;
  push(bytes: Buffer): void;
  end(): void;
  text(): string;
}
interface Options {
  readonly body?: string;
  readonly limitMs?: number;
  readonly isHeadEnough?: boolean;
  readonly onHead?: (status: number) => void;
  readonly onRequest?: (request: { destroy(): void }) => void;
}
type Call = (method: string, url: string, options: Options) => Promise<{ status: number; text: string }>;
const SOURCE = join(ROOT, 'sdk/node/src');
const { AnswerReader } = (await import(join(SOURCE, 'answer.mjs'))) as { AnswerReader: new (onHead?: (status: number) => void) => Reader };
const { createCaller } = (await import(join(SOURCE, 'http.mjs'))) as { createCaller: (key: string) => Call };

describe('reading an answer', () => {
  const BODY = '{"id":"ä☺"}';
  const LENGTH = Buffer.byteLength(BODY);
  const first = Buffer.from(BODY).subarray(0, 8).toString('latin1');
  const second = Buffer.from(BODY).subarray(8).toString('latin1');
  /** Bytes as Latin-1; what is after the head is UTF-8 cut anywhere. */
  const answers: readonly [string, string, { status: number; text: string; isReusable: boolean }][] = [
    ['of a known length', `200 OK\r\ncontent-length: ${LENGTH}\r\n\r\n${first}${second}`, { status: 200, text: BODY, isReusable: true }],
    ['whose names are spelled otherwise', `200 OK\r\nContent-Length:${LENGTH}  \r\nX: y\r\n\r\n${first}${second}`, { status: 200, text: BODY, isReusable: true }],
    ['in chunks, with an extension and a trailer', `200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8;x=y\r\n${first}\r\n${(LENGTH - 8).toString(16)}\r\n${second}\r\n0\r\nt: 1\r\n\r\n`, { status: 200, text: BODY, isReusable: true }],
    ['without a body', '204 No Content\r\n\r\n', { status: 204, text: '', isReusable: true }],
    ['with an empty body', '500 \r\ncontent-length: 0\r\n\r\n', { status: 500, text: '', isReusable: true }],
    ['after which the connection closes', `200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}`, { status: 200, text: '{}', isReusable: false }],
    ['after an interim one', `100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}`, { status: 200, text: '{}', isReusable: true }],
  ]; // biome-ignore format: one answer a line
  const read = (parts: readonly Buffer[]) => {
    const reader = new AnswerReader();
    for (const part of parts) {
      expect(reader.isDone).toBe(false);
      reader.push(part);
    }
    expect(reader.isDone).toBe(true);
    return { status: reader.status, text: reader.text(), isReusable: reader.isReusable };
  };

  it.each(answers)('%s, cut at every byte', (_name, rest, expected) => {
    const bytes = Buffer.from(`HTTP/1.1 ${rest}`, 'latin1');
    expect(read([bytes])).toEqual(expected);
    for (let at = 1; at < bytes.length; at++) expect(read([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(expected);
    expect(read(Array.from(bytes, (byte) => Buffer.from([byte])))).toEqual(expected);
  });

  it('of unknown length ends with the connection, which is used up', () => {
    const reader = new AnswerReader();
    reader.push(Buffer.from('HTTP/1.1 200 OK\r\n\r\nab'));
    reader.push(Buffer.from('c'));
    expect(reader.isDone).toBe(false);
    reader.end();
    expect([reader.isDone, reader.text(), reader.isReusable]).toEqual([true, 'abc', false]);
  });

  it('that ends early is not done, and its status is known', () => {
    const heads: number[] = [];
    const reader = new AnswerReader((status) => heads.push(status));
    reader.push(Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab'));
    reader.end();
    expect([reader.isDone, reader.status, heads]).toEqual([false, 200, [200]]);
  });

  it.each([
    ['no HTTP', 'SSH-2.0-OpenSSH\r\n\r\n'],
    ['a chunk without a size', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n'],
    ['a chunk longer than its size', 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabcd\r\n'],
    ['a head without an end', `HTTP/1.1 200 OK\r\n${'x'.repeat(70_000)}`],
  ])('finds %s broken', (_name, bytes) => {
    const reader = new AnswerReader();
    reader.push(Buffer.from(bytes));
    expect([reader.isBroken, reader.isDone]).toEqual([true, false]);
  });

  it('does not use a connection again that brought more than was asked for', () => {
    const reader = new AnswerReader();
    reader.push(Buffer.from('HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK'));
    expect([reader.isDone, reader.isReusable]).toEqual([true, false]);
  });
});

describe('calling', () => {
  const servers: Server[] = [];
  const dirs: string[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) {
      (server as Partial<HttpServer>).closeAllConnections?.();
      await new Promise((resolve) => server.close(resolve));
    }
    for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true });
  });
  const listen = async (server: Server, host = '127.0.0.1') => {
    servers.push(server);
    server.listen(0, host);
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  };
  /** A server whose connections are counted. */
  const serve = async (listener: RequestListener, host?: string) => {
    const sockets: Socket[] = [];
    const server = createServer(listener).on('connection', (socket) => sockets.push(socket));
    return { url: await listen(server, host), sockets };
  };
  const raw = (onSocket: (socket: Socket) => void) => listen(createTcpServer((socket) => onSocket(socket.on('error', () => {}).resume())));

  it('sends method, path, key and body, and keeps the connection', async () => {
    const { url, sockets } = await serve(async (request, response) => {
      const { method, url: path, headers } = request;
      response.end(JSON.stringify({ method, path, key: headers.authorization, body: await text(request) }));
    });
    const call = createCaller('k y');
    const body = '{"output":"☺"}';
    expect(JSON.parse((await call('POST', `${url}/a?b=1`, { body })).text)).toEqual({ method: 'POST', path: '/a?b=1', key: 'k y', body });
    expect(JSON.parse((await call('GET', `${url}/c`, {})).text)).toEqual({ method: 'GET', path: '/c', key: 'k y', body: '' });
    expect(sockets).toHaveLength(1);
    await Promise.all([call('GET', url.concat('/'), {}), call('GET', url.concat('/'), {})]);
    expect(sockets).toHaveLength(2);
  });

  it('carries bodies of many megabytes both ways, and speaks to an IPv6 address', async () => {
    const { url } = await serve((request, response) => void request.pipe(response), '::1');
    const body = JSON.stringify('wherry☺'.repeat(500_000));
    expect(await createCaller('k')('POST', `${url}/`, { body })).toEqual({ status: 200, text: body });
  });

  it('opens another connection when the kept one was closed, and answers 0 when nobody is there', async () => {
    const { url, sockets } = await serve((_request, response) => response.end('ok'));
    const call = createCaller('k');
    await call('GET', `${url}/`, {});
    const closed = once(sockets[0] as Socket, 'close');
    sockets[0]?.end();
    await closed;
    expect(await call('GET', `${url}/`, {})).toEqual({ status: 200, text: 'ok' });
    expect(sockets).toHaveLength(2);
    await new Promise((resolve) => servers.pop()?.close(resolve) && sockets[1]?.destroy());
    expect(await call('GET', `${url}/`, {})).toEqual({ status: 0, text: '' });
  });

  it('gives up when nothing comes for its time, and when the answer breaks off; its head may be enough', async () => {
    const silent = await raw(() => {});
    expect(await createCaller('k')('GET', `${silent}/`, { limitMs: 50 })).toEqual({ status: 0, text: '' });
    const broken = await raw((socket) => void socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{')));
    expect(await createCaller('k')('GET', `${broken}/`, {})).toEqual({ status: 0, text: '' });
    expect(await createCaller('k')('GET', `${broken}/`, { isHeadEnough: true })).toEqual({ status: 200, text: '' });
    const strange = await raw((socket) => void socket.once('data', () => socket.write('220 mail\r\n\r\n')));
    expect(await createCaller('k')('GET', `${strange}/`, {})).toEqual({ status: 0, text: '' });
  });

  it('tells the head when it is there, before the text', async () => {
    let release = () => {};
    const { url } = await serve((_request, response) => {
      response.writeHead(200).flushHeaders();
      release = () => response.end('later');
    });
    const order: unknown[] = [];
    const onHead = (status: number) => {
      order.push(status);
      release();
    };
    order.push((await createCaller('k')('GET', `${url}/`, { onHead })).text);
    expect(order).toEqual([200, 'later']);
  });

  it('ends a request that is destroyed, and no later one on the same connection', async () => {
    const { url, sockets } = await serve((request, response) => void (request.url === '/hold' || response.end('ok')));
    const call = createCaller('k');
    let request = { destroy: () => {} };
    const onRequest = (made: typeof request) => {
      request = made;
    };
    await call('GET', `${url}/`, { onRequest });
    const next = call('GET', `${url}/`, {});
    request.destroy();
    expect(await next).toEqual({ status: 200, text: 'ok' });
    expect(sockets).toHaveLength(1);
    const held = call('GET', `${url}/hold`, { onRequest });
    request.destroy();
    expect(await held).toEqual({ status: 0, text: '' });
  });

  it.each(['a b', 'a\r\nx: y', 'ä'])('refuses to send the path %j', async (path) => {
    await expect(createCaller('k')('GET', `http://127.0.0.1:9/${path}`, {})).rejects.toThrow(/HTTP cannot carry/);
  });

  it('speaks TLS to a server whose certificate is trusted, and to no other', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'wherry-tls-'));
    dirs.push(dir);
    const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
    const made = [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '1',
      '-subj',
      '/CN=localhost',
      '-addext',
      'subjectAltName=DNS:localhost',
    ];
    execFileSync('openssl', [...made, '-keyout', key, '-out', cert], { stdio: 'ignore' });
    const server = createSecureServer(
      { key: readFileSync(key), cert: readFileSync(cert) },
      (_request, response) => void response.end('safe'),
    );
    const url = (await listen(server)).replace('http://127.0.0.1', 'https://localhost');
    const code = `const { createCaller } = await import(${JSON.stringify(join(SOURCE, 'http.mjs'))});
      console.log(JSON.stringify(await createCaller('k')('GET', ${JSON.stringify(`${url}/`)}, {}))); process.exit();`;
    const ask = async (env: Readonly<Record<string, string>>) => {
      const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], {
        env: { ...process.env, ...env },
      });
      return JSON.parse(stdout) as unknown;
    };
    expect(await ask({ NODE_EXTRA_CA_CERTS: cert })).toEqual({ status: 200, text: 'safe' });
    expect(await ask({})).toEqual({ status: 0, text: '' });
  });
});
