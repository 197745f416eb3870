import { appendFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
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
