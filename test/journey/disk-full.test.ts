import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { needsMount } from '../needs.js';
import { openStage, type Stage, until } from '../stage.js';
import { ECHO, nodeProject } from './projects.js';

/** The real server on a real file system of its own, which is filled to the last byte. */
const SIZE = '48m';
const canMount = needsMount();

let stage: Stage | undefined;
afterEach(async () => {
  if (stage) rmSync(join(stage.dataDir, 'ballast'), { force: true });
  await stage?.close();
  stage = undefined;
});

function mountSmall(dir: string): () => void {
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE}`, 'tmpfs', dir], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`tmpfs could not be mounted: ${stderr}`);
  // Lazily: the supervisor of the workers stays some seconds longer than the server.
  return () => {
    spawnSync('umount', ['-l', dir]);
  };
}

async function openSmallStage(): Promise<Stage> {
  stage = await openStage({}, mountSmall);
  return stage;
}

/** Writes ever smaller pieces until not one byte more fits. */
function fill(file: string): void {
  const handle = openSync(file, 'a');
  try {
    for (let size = 1024 * 1024; size >= 1; ) {
      try {
        writeSync(handle, Buffer.alloc(size));
      } catch (thrown) {
        if ((thrown as NodeJS.ErrnoException).code !== 'ENOSPC') throw thrown;
        size = Math.floor(size / 2);
      }
    }
  } finally {
    closeSync(handle);
  }
}

const digestOf = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

async function listIds(on: Stage): Promise<string[]> {
  const { status, json } = await on.call('/api/v1/endpoints/full/jobs?limit=500');
  expect(status).toBe(200);
  return (json as { items: { id: string }[] }).items.map(({ id }) => id).sort();
}

const submit = (on: Stage, input: unknown) => on.call('/v2/full/run', { method: 'POST', body: { input } });
const big = { value: 'x'.repeat(256 * 1024) };

/** Submits until the disk takes no more; gives what was acknowledged before. */
async function submitUntilRefused(on: Stage): Promise<string[]> {
  const taken: string[] = [];
  await until(async () => {
    const { status, json } = await submit(on, big);
    if (status === 200) taken.push((json as { id: string }).id);
    else expect({ status, json }).toMatchObject({ status: 503, json: { error: expect.any(String) } });
    return status === 503;
  }, 'the disk to refuse a job');
  return taken;
}

async function pushBlob(on: Stage, bytes: Buffer): Promise<Response> {
  const address = new URL(`/v2/full/blobs/uploads/?digest=${digestOf(bytes)}`, on.url);
  return fetch(address, {
    method: 'POST',
    headers: { authorization: on.key, 'content-type': 'application/octet-stream' },
    body: new Uint8Array(bytes),
  });
}

const hasBlob = async (on: Stage, bytes: Buffer) =>
  (await fetch(new URL(`/v2/full/blobs/${digestOf(bytes)}`, on.url), { method: 'HEAD', headers: { authorization: on.key } })).status;

describe.skipIf(!canMount)('a full disk (needs root and a tmpfs mount)', () => {
  it('refuses jobs with 503 and answers reads; with space again it goes on without a restart and has lost none', async () => {
    const on = await openSmallStage();
    await on.cli('deploy', on.project('full', nodeProject('full', ECHO)));
    const before = await on.submit('full', { value: 'before' });
    expect(await on.finished('full', before.id)).toMatchObject({ output: 'before' });
    const { pid } = on;

    fill(join(on.dataDir, 'ballast'));
    const taken = await submitUntilRefused(on);
    const stored = await listIds(on);
    expect(stored).toEqual([before.id, ...taken].sort());
    for (let n = 0; n < 5; n++) expect(await submit(on, big)).toMatchObject({ status: 503, json: { error: expect.any(String) } });
    expect(await listIds(on)).toEqual(stored);
    expect((await on.call('/healthz')).status).toBe(200);
    expect((await on.call('/v2/full/health')).status).toBe(200);
    expect(await on.status('full', before.id)).toMatchObject({ status: 'COMPLETED', output: 'before' });

    rmSync(join(on.dataDir, 'ballast'));
    const after = await until(async () => {
      const { status, json } = await submit(on, { value: 'after' });
      return status === 200 ? (json as { id: string }) : undefined;
    }, 'a job to be accepted again');
    expect(await on.finished('full', after.id)).toMatchObject({ status: 'COMPLETED', output: 'after' });
    for (const id of taken) expect(await on.finished('full', id)).toMatchObject({ status: 'COMPLETED', output: big.value });
    expect(await listIds(on)).toEqual([...stored, after.id].sort());
    expect(on.pid).toBe(pid);

    await on.kill();
    await on.restart();
    expect(await listIds(on)).toEqual([...stored, after.id].sort());
  }, 120_000);

  it('keeps what a worker prints meanwhile, and stores it when there is space again', async () => {
    const on = await openSmallStage();
    const count = join(on.project('count', { 'readme.txt': 'how much the worker said, on another disk' }), 'count');
    const talking = `import { writeFileSync } from 'node:fs';
export async function handler() {
  for (let n = 0; n < 40; n++) {
    console.log('said ' + n + ' ' + 'x'.repeat(1000));
    writeFileSync(${JSON.stringify(count)}, String(n));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
`;
    await on.cli('deploy', on.project('full', nodeProject('full', talking)));
    const { id } = await on.submit('full', null);
    const said = async () => {
      const lines = (await on.cli('logs', '-e', 'full', '--limit', '1000')).match(/said \d+/g) ?? [];
      return [...new Set(lines)];
    };
    await until(async () => (await said()).length > 2, 'the first lines');
    fill(join(on.dataDir, 'ballast'));
    const before = (await said()).length;
    await until(() => Number(readFileSync(count, 'utf8')) >= before + 10, 'more to be said while nothing can be stored');
    rmSync(join(on.dataDir, 'ballast'));
    expect(before).toBeLessThan(30);
    await on.finished('full', id);
    const all = Array.from({ length: 40 }, (_, n) => `said ${n}`);
    expect(await until(async () => ((await said()).length === 40 ? said() : undefined), 'all lines')).toEqual(all);
  }, 120_000);

  it('acknowledges no blob that is not whole on disk, and takes it when there is space again', async () => {
    const on = await openSmallStage();
    await on.cli('deploy', on.project('full', nodeProject('full', ECHO)));
    const bytes = randomBytes(3 * 1024 * 1024);
    fill(join(on.dataDir, 'ballast'));

    const refused = await pushBlob(on, bytes);
    expect(refused.status).toBe(503);
    expect(await refused.json()).toMatchObject({ errors: [{ code: expect.any(String) }] });
    expect(await hasBlob(on, bytes)).toBe(404);
    expect((await on.call('/healthz')).status).toBe(200);

    rmSync(join(on.dataDir, 'ballast'));
    expect((await pushBlob(on, bytes)).status).toBe(201);
    expect(await hasBlob(on, bytes)).toBe(200);
    expect(await on.runsync('full', { value: 'still' })).toMatchObject({ status: 'COMPLETED', output: 'still' });
  }, 120_000);
});
