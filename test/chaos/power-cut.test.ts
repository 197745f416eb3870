import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needs, needsMount } from '../needs.js';
import { openStage, type Stage } from '../stage.js';

/** Jobs between one cut and the next, and how many are sent at a time. */
const JOBS = [3, 40, 75, 120];
const SENDERS = 8;

function run(command: string, ...args: readonly string[]): void {
  const { status, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` },
  });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${stderr}`);
}

/**
 * A disk whose state can be kept at any moment: an image file on XFS, which shares blocks between files. A copy of it holds what the file system
 * inside had written until then; what only lay in the memory of the machine is not in it, as after a cut of its power.
 */
function openDisk() {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-disk-'));
  const [file, shelf] = [join(dir, 'shelf.img'), join(dir, 'shelf')];
  mkdirSync(shelf);
  run('truncate', '--size', '400M', file);
  run('mkfs.xfs', '-q', '-m', 'reflink=1', file);
  run('mount', '-o', 'loop', file, shelf);
  const image = (name: string) => join(shelf, `${name}.img`);
  run('truncate', '--size', '64M', image('disk'));
  run('mkfs.ext4', '-q', image('disk'));
  return {
    // Nothing is written by itself while the test runs.
    mount: (name: string, place: string) => run('mount', '-o', 'loop,commit=300', image(name), place),
    cut: (name: string) => run('cp', '--reflink=always', image('disk'), image(name)),
    close() {
      spawnSync('umount', ['-l', shelf]);
      rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

const canCut =
  needsMount() &&
  needs('mkfs.xfs', () => spawnSync('sh', ['-c', 'PATH=$PATH:/usr/sbin:/sbin mkfs.xfs -V'], { stdio: 'ignore' }).status === 0);

describe.skipIf(!canCut)('a power cut (needs root, loop devices and XFS)', () => {
  let stage: Stage;
  let disk: ReturnType<typeof openDisk>;
  beforeAll(async () => {
    disk = openDisk();
    stage = await openStage({}, (dataDir) => {
      disk.mount('disk', dataDir);
      return () => void spawnSync('umount', ['-l', dataDir]);
    });
    await stage.call('/api/v1/endpoints', {
      method: 'POST',
      body: { id: 'kept', settings: { scale: { max: 0 }, limits: { queueJobs: 0 } } },
    });
  });
  afterAll(async () => {
    try {
      await stage?.close();
    } finally {
      if (stage) spawnSync('umount', ['-l', stage.dataDir]);
      disk?.close();
    }
  });

  /** Sends jobs side by side, and gives the ids that were acknowledged. */
  async function send(count: number): Promise<readonly string[]> {
    const ids: string[] = [];
    const work = async (): Promise<void> => {
      while (ids.length < count) {
        const { id } = await stage.submit('kept', { number: ids.length });
        expect(id).toEqual(expect.any(String));
        ids.push(id);
      }
    };
    await Promise.all(Array.from({ length: SENDERS }, work));
    return ids;
  }

  async function pushBlob(): Promise<string> {
    const bytes = randomBytes(100_000);
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const headers = { authorization: stage.key };
    const begun = await fetch(`${stage.url}/v2/kept/blobs/uploads/`, { method: 'POST', headers });
    const place = new URL(begun.headers.get('location') ?? '', stage.url);
    place.searchParams.set('digest', digest);
    expect((await fetch(place, { method: 'PUT', headers, body: bytes })).status).toBe(201);
    return digest;
  }

  /** What of the ids is not there as a job that waits. */
  async function lost(ids: readonly string[]): Promise<readonly string[]> {
    const states = await Promise.all(ids.map(async (id) => [id, (await stage.status('kept', id)).status] as const));
    return states.filter(([, status]) => status !== 'IN_QUEUE').map(([id]) => id);
  }

  it('loses no job and no blob that was acknowledged, whenever it comes; what was not synced is gone (A5)', async () => {
    const cuts: { readonly name: string; readonly jobs: readonly string[]; readonly blobs: readonly string[] }[] = [];
    const [jobs, blobs]: [string[], string[]] = [[], []];
    for (const [index, count] of JOBS.entries()) {
      jobs.push(...(await send(count)));
      blobs.push(await pushBlob());
      writeFileSync(join(stage.dataDir, `unsynced-${index}`), 'x'.repeat(10_000));
      // Requests are under way at the moment of the cut.
      const [more] = await Promise.all([send(SENDERS), disk.cut(`cut-${index}`)]);
      cuts.push({ name: `cut-${index}`, jobs: [...jobs], blobs: [...blobs] });
      jobs.push(...more);
    }
    for (const { name, jobs: acknowledged, blobs: stored } of cuts) {
      await stage.kill();
      run('umount', '-l', stage.dataDir);
      disk.mount(name, stage.dataDir);
      await stage.restart();
      expect([name, await lost(acknowledged)]).toEqual([name, []]);
      for (const digest of stored) {
        const found = await fetch(`${stage.url}/v2/kept/blobs/${digest}`, { headers: { authorization: stage.key } });
        const bytes = Buffer.from(await found.arrayBuffer());
        expect([name, found.status, `sha256:${createHash('sha256').update(bytes).digest('hex')}`]).toEqual([name, 200, digest]);
      }
      expect(existsSync(join(stage.dataDir, `unsynced-${name.slice(-1)}`))).toBe(false);
      expect(await send(1)).not.toEqual([]);
    }
  });
});
