import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createLogs, type Logs } from '../../src/engine/logs.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'wherry-logs-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

const open = (): Logs => createLogs({ dir, from: Date.now(), log: pino({ level: 'silent' }) });
const lineOf = (text: string) => ({ at: Date.now(), source: 'container' as const, jobId: null, text });
const write = (logs: Logs, workerId: string, ...texts: string[]) => logs.append({ endpointId: 'e1', workerId }, texts.map(lineOf));
const read = async (logs: Logs, workerIds: readonly string[], limit = 100) =>
  (await logs.read({ endpointId: 'e1', limit }, workerIds)).map(({ text }) => text);

it('tells the writer when the disk refuses the lines, and stores the next ones', async () => {
  const logs = open();
  await write(logs, 'w-1', 'before');
  const segment = join(dir, 'e1', 'w-1', '1.log');
  // A directory in the place of the file refuses also the superuser.
  rmSync(segment);
  mkdirSync(segment);
  await expect(write(logs, 'w-1', 'refused')).rejects.toThrow(/EISDIR/);
  rmSync(segment, { recursive: true });
  await write(logs, 'w-1', 'after');
  const [line] = await logs.read({ endpointId: 'e1', limit: 1 }, ['w-1']);
  expect(line).toMatchObject({ text: 'after', id: 'w-1/1:0' });
});

it('loses only the torn line after a crash in mid-write, not the one after it', async () => {
  await write(open(), 'w-1', 'whole');
  appendFileSync(join(dir, 'e1', 'w-1', '1.log'), '{"order":1,"at":1,"sou');
  const logs = open();
  await write(logs, 'w-1', 'next');
  expect(await read(logs, ['w-1'])).toEqual(['whole', 'next']);
});

it('gives the last lines of many workers in order, however many there are', async () => {
  const logs = open();
  const ids = Array.from({ length: 100 }, (_, n) => `w-${n}`);
  for (const id of ids) await write(logs, id, `first of ${id}`);
  await write(logs, 'w-3', 'second of w-3');
  expect(await read(logs, ids, 3)).toEqual(['first of w-98', 'first of w-99', 'second of w-3']);
  expect(await read(logs, ids, 1_000)).toHaveLength(101);
});

it('gives the lines of a time, a source and a pattern, and the last of them', async () => {
  const logs = open();
  const now = Date.now();
  const lines = [...'abcdef'].map((text, index) => ({ ...lineOf(text), at: now + index * 1_000 }));
  await logs.append({ endpointId: 'e1', workerId: 'w-1' }, lines);
  await logs.append({ endpointId: 'e1', workerId: 'w-2' }, [{ ...lineOf('started'), source: 'system', at: now + 2_500 }]);
  const find = async (filter: object, limit = 100) =>
    (await logs.read({ endpointId: 'e1', limit, ...filter }, ['w-1', 'w-2'])).map(({ text }) => text);
  expect(await find({ since: now + 2_000 })).toEqual(['c', 'd', 'e', 'f', 'started']);
  expect(await find({ since: now + 1_000, until: now + 3_000 })).toEqual(['b', 'c', 'started']);
  expect(await find({ source: 'system' })).toEqual(['started']);
  expect(await find({ source: 'container', isMatch: (text: string) => /[ace]/.test(text) }, 2)).toEqual(['c', 'e']);
  expect(await find({ since: now + 60_000 })).toEqual([]);
});

it('marks what it did not look through: a search for few lines among many reads a bounded part', async () => {
  const dir1 = join(dir, 'e1', 'w-1');
  mkdirSync(dir1, { recursive: true });
  const line = `${JSON.stringify({ order: 1, at: 1, source: 'container', jobId: null, text: 'x'.repeat(1024 * 1024) })}\n`;
  for (let segment = 1; segment <= 258; segment++) writeFileSync(join(dir1, `${segment}.log`), line);
  const found = await open().read({ endpointId: 'e1', limit: 10, isMatch: (text) => text === 'absent' }, ['w-1']);
  expect(found).toEqual([expect.objectContaining({ id: '', source: 'system', text: 'looked through the last 256 MiB only' })]);
});

it('tells a reader that was away too long that lines are missing', async () => {
  const logs = open();
  await write(logs, 'w-1', 'first');
  const [first] = await logs.read({ endpointId: 'e1', limit: 1 }, ['w-1']);
  await write(logs, 'w-1', ...Array.from({ length: 10_050 }, (_, n) => `line ${n}`));
  const stop = new AbortController();
  const got: string[] = [];
  for await (const { text } of logs.follow({ endpointId: 'e1', limit: 1, afterId: first?.id ?? '' }, async () => ['w-1'], stop.signal)) {
    got.push(text);
    if (text === 'line 10049') stop.abort();
  }
  expect(got[0]).toBe('lines before this were dropped: the reader was away too long');
  expect(got).toHaveLength(10_001);
});
