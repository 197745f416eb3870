import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { openLayout } from '../../src/oci/layout.js';
import { packTar } from '../../src/oci/tar.js';
import { unpackLayers } from '../../src/oci/unpack.js';
import { needsMount } from '../needs.js';

const mounted: string[] = [];
afterEach(() => {
  for (const dir of mounted.splice(0)) {
    spawnSync('umount', [dir]);
    rmSync(dir, { recursive: true, force: true });
  }
});

/** A real file system of 128 KiB. */
function mountTiny(): string {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-tiny-'));
  mounted.push(dir);
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', dir], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`tmpfs could not be mounted: ${stderr}`);
  return dir;
}

async function* once(bytes: Uint8Array) {
  yield bytes;
}

describe.skipIf(!needsMount())('a disk that takes only a part of a write', () => {
  it('leaves no blob in a layout', async () => {
    const layout = await openLayout(join(mountTiny(), 'layout'));
    await expect(layout.writeBlob(once(Buffer.alloc(200 * 1024, 1)))).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(readdirSync(join(layout.dir, 'blobs/sha256'))).toEqual([]);
  });

  it('ends the unpacking of a layer', async () => {
    const content = { bytes: Buffer.alloc(200 * 1024, 1) };
    const tar = packTar([{ path: 'large', type: 'file', isExecutable: false, content }]);
    await expect(unpackLayers([tar], mountTiny())).rejects.toMatchObject({
      code: 'LAYER_INVALID',
      message: expect.stringContaining('ENOSPC'),
    });
  });
});
