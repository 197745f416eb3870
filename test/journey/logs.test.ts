import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApiClient } from '../../src/api/client.js';
import { MAIN, openStage, type Stage, until } from '../stage.js';
import { nodeProject } from './projects.js';

/** Prints what it is told to, or counts; the release is in its greeting. */
const PRINTS = (release: string) => `
export async function handler({ input }) {
  for (const text of input.print ?? []) console.log('${release} ' + text);
  for (let n = 0; n < (input.ticks ?? 0); n++) {
    console.log('tick ' + n);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
  return 'done';
}
`;

/** `script` of util-linux runs a command on a terminal of its own. */
const run = promisify(execFile);

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  await stage.cli('deploy', stage.project('talk', nodeProject('talk', PRINTS('one'), 'scale: { max: 1, idle: 1s, keep: none }\n')));
});
afterAll(() => stage.close());

const logs = async (...args: readonly string[]) =>
  (await stage.cli('logs', '-e', 'talk', ...args)).split('\n').filter((line) => line !== '');
const stored = (text: string) =>
  until(async () => (await logs('--limit', '1000')).some((line) => line.includes(text)), `'${text}' to be stored`);
const noWorker = () =>
  until(async () => ((await stage.call('/api/v1/endpoints/talk/workers')).json as { items: [] }).items.length === 0, 'no worker');

describe('wherry logs', () => {
  it('finds lines by job, worker, release, source, time and pattern, also when the worker is gone (row 101, row 102)', async () => {
    const first = await stage.runsync('talk', { print: ['an apple', 'a pear'] });
    const second = await stage.runsync('talk', { print: ['another apple'] });
    await stored('another apple');
    const between = new Date().toISOString();
    await noWorker();
    await stage.cli('deploy', stage.project('talk-2', nodeProject('talk', PRINTS('two'), 'scale: { max: 1, idle: 1s, keep: none }\n')));
    await stage.runsync('talk', { print: ['a plum'] });
    await stored('a plum');
    await noWorker();

    expect((await logs('--job', first.id, '--source', 'container')).map(textOf)).toEqual(['one an apple', 'one a pear']);
    expect((await logs('--job', second.id, '--source', 'container')).map(textOf)).toEqual(['one another apple']);
    expect((await logs('--grep', 'an.*APPLE$')).map(textOf)).toEqual([]);
    expect((await logs('--grep', '(?i)an.*APPLE$')).map(textOf)).toEqual(['one an apple', 'one another apple']);
    expect((await logs('--release', 'r2', '--source', 'container')).map(textOf)).toEqual(['two a plum']);
    expect((await logs('--until', between, '--source', 'container', '--limit', '1')).map(textOf)).toEqual(['one another apple']);
    expect((await logs('--since', between, '--source', 'container')).map(textOf)).toEqual(['two a plum']);
    expect(await logs('--since', '1ms')).toEqual([]);
    const own = await logs('--worker', String(first.workerId), '--source', 'system');
    expect(own.map(textOf)).toEqual(
      expect.arrayContaining([expect.stringMatching(/^· started r1/), expect.stringMatching(/^· ready after/)]),
    );
    expect(own.map(textOf).at(-1)).toMatch(/^· stopped: it was idle long enough/);
  });

  it.each([
    [['--since', 'yesterday'], /--since 'yesterday' is not a time/],
    [['--source', 'kernel'], /--source 'kernel'/],
    [['--grep', '(a'], /not a regular expression.*missing closing/],
    [['--grep', '(?=a)'], /not a regular expression/],
    [['-f', '--until', '1m'], /--follow has no end/],
  ])('refuses %j', async (args, said) => {
    const refused = await stage.tryCli('logs', '-e', 'talk', ...args);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toMatch(said);
  });

  it('gives a pipe no control sequences', async () => {
    await stage.runsync('talk', { print: ['\u001b[31mred\u001b[0m\u001b[2J and a \u0007bell\u009b1m'] });
    await stored('bell');
    expect((await logs('--grep', 'bell')).map(textOf)).toEqual(['two red and a ^Gbell']);
    const { items } = JSON.parse(await stage.cli('logs', '-e', 'talk', '--grep', 'bell', '--json')) as { items: { text: string }[] };
    expect(items[0]?.text).toContain('\u001b[31mred');
  });

  it('gives a terminal colours, and nothing that would move, clear or name it', async () => {
    await stage.runsync('talk', { print: ['\u001b[32mgreen\u001b[0m\u001b[2J\u001b]0;title\u0007 bell2\u0007'] });
    await stored('bell2');
    const wherry = [process.execPath, MAIN, 'logs', '-e', 'talk', '--grep', 'bell2', '--data', stage.dataDir].join(' ');
    const { stdout } = await run('script', ['-qec', wherry, '/dev/null'], { env: { ...process.env, TERM: 'xterm', NO_COLOR: undefined } });
    const shown = stdout.trimEnd().replaceAll('\u001b[32m', '<green>').replaceAll('\u001b[0m', '<end>');
    expect(shown).toMatch(/ (one|two) <green>green<end> bell2\^G(<end>)+$/);
    expect(shown).not.toContain('\u001b');
  });

  it('follows live lines over a death of the server: none missing, none shown twice, in order (row 101)', async () => {
    const client = createApiClient({ url: stage.url, key: stage.key });
    const stop = new AbortController();
    const ticks: string[] = [];
    const ids: string[] = [];
    const followed = (async () => {
      for await (const { id, text } of client.followLogs('talk', { source: 'container', grep: '^tick ', limit: 1 }, stop.signal)) {
        ticks.push(text);
        ids.push(id);
      }
    })();
    const { id } = await stage.submit('talk', { ticks: 150 });
    await until(() => ticks.length >= 20, 'some ticks');
    await stage.kill();
    const atKill = ticks.length;
    await stage.restart();
    expect((await stage.finished('talk', id)).status).toBe('COMPLETED');
    await until(() => ticks.includes('tick 149'), 'the last tick');
    stop.abort();
    await followed;
    expect(atKill).toBeLessThan(150);
    expect(new Set(ids).size).toBe(ids.length);
    // A server that dies between storing lines and saying so gets them again, as new lines.
    expect([...new Set(ticks)]).toEqual(Array.from({ length: 150 }, (_, n) => `tick ${n}`));
  });

  it('goes on behind Last-Event-ID, and shows only the release that was asked for', async () => {
    const lines = (await stage.call('/api/v1/endpoints/talk/logs?limit=1000')).json as { items: { id: string; text: string }[] };
    const plum = lines.items.findIndex(({ text }) => text === 'two a plum');
    const read = async (query: string, lastId?: string, count = 3) => {
      const leave = new AbortController();
      const headers = { authorization: stage.key, ...(lastId !== undefined && { 'last-event-id': lastId }) };
      const answer = await fetch(`${stage.url}/api/v1/endpoints/talk/logs?follow=true&${query}`, { headers, signal: leave.signal });
      const ids: string[] = [];
      let text = '';
      for await (const part of answer.body as unknown as AsyncIterable<Uint8Array>) {
        text += Buffer.from(part).toString('utf8');
        ids.splice(0, ids.length, ...[...text.matchAll(/^id: (.+)$/gm)].map(([, found = '']) => found));
        if (ids.length >= count) break;
      }
      leave.abort();
      return ids.slice(0, count);
    };
    expect(await read('', lines.items[plum]?.id)).toEqual(lines.items.slice(plum + 1, plum + 4).map(({ id }) => id));
    const live = { one: [] as string[], two: [] as string[] };
    const stop = new AbortController();
    const client = createApiClient({ url: stage.url, key: stage.key });
    const follow = async (release: number, texts: string[]) => {
      for await (const { text } of client.followLogs('talk', { release, limit: 1 }, stop.signal)) texts.push(text);
    };
    const following = [follow(1, live.one), follow(2, live.two)];
    await until(() => live.one.length > 0 && live.two.length > 0, 'both to follow');
    await stage.runsync('talk', { print: ['a live plum'] });
    await until(() => live.two.includes('two a live plum'), 'the line of the release that serves');
    expect(live.one).toHaveLength(1);
    stop.abort();
    await Promise.all(following);
    const former = new Set((await logs('--release', 'r1', '--limit', '1000')).map((line) => line.split(' ')[1]));
    const shown = (await read('release=1&limit=5', undefined, 5)).map((id) => id.split('/')[0]);
    expect(shown.every((worker) => former.has(worker))).toBe(true);
  });
});

/** A line without its time and worker. */
function textOf(line: string): string {
  return line.split(' ').slice(2).join(' ');
}
