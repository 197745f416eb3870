import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openStage, type Stage } from '../stage.js';

/** Bodies that are wrong, or large, or only look so (C4): refused by name, and the server stays small. */
let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  await stage.cli('deploy', stage.project('echo', nodeProject('echo', ECHO, 'scale: { max: 1 }\n')));
  await stage.runsync('echo', null);
});
afterAll(() => stage.close());

const MIB = 1024 * 1024;
const LIMIT = 10 * MIB;

function post(body: Buffer | string, headers: Record<string, string> = {}): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = { authorization: stage.key, 'content-type': 'application/json', ...headers };
    const outgoing = request(`${stage.url}/v2/echo/run`, { method: 'POST', headers: sent }, (response) => {
      resolve(text(response).then((got) => ({ status: response.statusCode ?? 0, body: got })));
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

const residentBytes = () => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${stage.pid}/status`, 'utf8'))?.[1]) * 1024;

async function outputOf(answer: { status: number; body: string }): Promise<unknown> {
  expect(answer.status).toBe(200);
  return (await stage.finished('echo', (JSON.parse(answer.body) as { id: string }).id)).output;
}

/** A body of exactly so many bytes. */
const bodyOf = (bytes: number) => {
  const [head, tail] = ['{"input":{"value":1,"pad":"', '"}}'];
  return head + 'x'.repeat(bytes - head.length - tail.length) + tail;
};

describe('a body', () => {
  it('is taken at the limit and refused one byte above, with the limit named (C4)', async () => {
    expect((await post(bodyOf(LIMIT))).status).toBe(200);
    const refused = await post(bodyOf(LIMIT + 1));
    expect(refused.status).toBe(400);
    expect(refused.body).toContain('10 MiB');
  });

  it.each<[string, Buffer | string]>([
    ['nothing', ''],
    ['NaN', '{"input":NaN}'],
    ['a list', '[{"input":1}]'],
    ['half of it', '{"input":{"value":1}'],
    ['bytes that are not UTF-8', Buffer.concat([Buffer.from('{"input":"'), Buffer.from([0xff, 0xfe, 0xc3]), Buffer.from('"}')])],
  ])('is refused with 400 within a moment when it is %s (C4)', async (_what, body) => {
    const from = performance.now();
    expect(await post(body)).toMatchObject({ status: 400, body: expect.stringMatching(/^{"error":"/) });
    expect(performance.now() - from).toBeLessThan(2_000);
  });

  it('of a gzip bomb is not unpacked: it is bytes that are not JSON (C4)', async () => {
    const bomb = gzipSync(Buffer.alloc(64 * MIB));
    const before = residentBytes();
    expect((await post(bomb, { 'content-encoding': 'gzip' })).status).toBe(400);
    expect(residentBytes() - before).toBeLessThan(32 * MIB);
  });

  it('of a gigabyte that is only declared takes no memory and no other client waits (C4)', async () => {
    const { hostname, port } = new URL(stage.url);
    const before = residentBytes();
    const socket = connect(Number(port), hostname);
    socket.on('error', () => {});
    const head = `POST /v2/echo/run HTTP/1.1\r\nhost: x\r\nauthorization: ${stage.key}\r\ncontent-length: ${1024 * MIB}\r\n\r\n`;
    socket.write(`${head}{"input":"`);
    for (let sent = 0; sent < 24; sent++) await new Promise((resolve) => socket.write('x'.repeat(MIB), resolve));
    expect(await stage.runsync('echo', { value: 'others' })).toMatchObject({ output: 'others' });
    expect(residentBytes() - before).toBeLessThan(96 * MIB);
    socket.destroy();
  });

  it('that is a hundred thousand deep passes through or is refused, and the server goes on (C4)', async () => {
    const deep = `{"input":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    expect((await post(deep)).status).toBeOneOf([200, 400]);
    expect(await stage.runsync('echo', { value: 'after' })).toMatchObject({ status: 'COMPLETED', output: 'after' });
  });

  it('with a key twice means the last one, as JSON says to most (C4)', async () => {
    expect(await outputOf(await post('{"input":{"value":"first"},"input":{"value":"last"}}'))).toBe('last');
  });

  it('with __proto__ is data and changes nothing (C4)', async () => {
    const sent = '{"__proto__":{"input":{"value":"wrong"}},"input":{"value":{"__proto__":{"isAdmin":true},"kept":1}}}';
    expect(await outputOf(await post(sent))).toEqual(JSON.parse('{"__proto__":{"isAdmin":true},"kept":1}'));
    expect((await post('{"__proto__":{"input":1}}')).status).toBe(400);
  });

  it('with a lone surrogate comes back as it was (C4)', async () => {
    expect(await outputOf(await post('{"input":{"value":"\\ud800 x"}}'))).toBe('\ud800 x');
  });
});
