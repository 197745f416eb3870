import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ECHO, nodeProject } from '../journey/projects.js';
import { openStage, type Stage, until } from '../stage.js';

/** Clients whose connection breaks at every byte of a submission or of its answer, and who then ask again. */
let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  await stage.cli('deploy', stage.project('cut', nodeProject('cut', ECHO, 'scale: { max: 1, idle: 1h }\n')));
});
afterAll(() => stage.close());

interface Cut {
  readonly sentBytes?: number;
  readonly readBytes?: number;
}

function requestOf(key: string): Buffer {
  const body = JSON.stringify({ input: { value: key } });
  const head = ['POST /v2/cut/run HTTP/1.1', 'host: cut', `authorization: ${stage.key}`, `idempotency-key: ${key}`];
  return Buffer.from(`${[...head, 'connection: close', `content-length: ${body.length}`].join('\r\n')}\r\n\r\n${body}`);
}

/** Sends so much of the request, reads so much of the answer, and is gone; gives what was read. */
function submit(key: string, { sentBytes = Number.POSITIVE_INFINITY, readBytes = Number.POSITIVE_INFINITY }: Cut = {}): Promise<Buffer> {
  const { hostname, port } = new URL(stage.url);
  const request = requestOf(key);
  return new Promise((resolve, reject) => {
    let read = Buffer.alloc(0);
    const socket = connect({ host: hostname, port: Number(port) }, () => {
      socket.write(request.subarray(0, sentBytes));
      if (sentBytes < request.length) socket.destroySoon();
      else if (readBytes === 0) socket.destroy();
    });
    socket.on('data', (part: Buffer) => {
      read = Buffer.concat([read, part]).subarray(0, readBytes);
      if (read.length >= readBytes) socket.resetAndDestroy();
    });
    socket.on('close', () => resolve(read));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve(read) : reject(error),
    );
  });
}

const idIn = (answer: Buffer) => (JSON.parse(answer.toString().split('\r\n\r\n')[1] ?? '') as { id: string }).id;
const completed = async () => ((await stage.call('/v2/cut/health')).json as { jobs: { completed: number } }).jobs.completed;

/** Every key is submitted cut short, then twice whole: one job each. */
async function expectOneJobEach(kind: string, cuts: readonly Cut[]): Promise<void> {
  const before = await completed();
  const keys = cuts.map((_, n) => `${kind}-${n}`);
  await Promise.all(keys.map((key, n) => submit(key, cuts[n])));
  const first = await Promise.all(keys.map((key) => submit(key)));
  const second = await Promise.all(keys.map((key) => submit(key)));
  const ids = first.map(idIn);
  expect(second.map(idIn)).toEqual(ids);
  expect(new Set(ids).size).toBe(keys.length);
  for (const [n, id] of ids.entries()) expect(await stage.finished('cut', id)).toMatchObject({ output: keys[n] });
  await until(async () => (await completed()) - before >= keys.length, 'all jobs');
  expect((await completed()) - before).toBe(keys.length);
}

describe('a client that repeats a submission with its key', () => {
  it('has one job, wherever the answer broke off (B2)', async () => {
    const whole = await submit('measured');
    await stage.finished('cut', idIn(whole));
    const { length } = whole;
    expect(length).toBeGreaterThan(100);
    await expectOneJobEach(
      'answer',
      Array.from({ length }, (_, readBytes) => ({ readBytes })),
    );
  }, 60_000);

  it('has one job, wherever the request broke off (B2)', async () => {
    const { length } = requestOf('request-100');
    await expectOneJobEach(
      'request',
      Array.from({ length }, (_, sentBytes) => ({ sentBytes })),
    );
  }, 60_000);
});
