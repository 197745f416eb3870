import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, describe, expect, it } from 'vitest';
import { encodeLayer } from './layer.js';
import { packTar, type TarEntry } from './tar.js';

const made: string[] = [];
function freshDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-tar-'));
  made.push(dir);
  return dir;
}
afterEach(() => {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});

const text = (path: string, content: string, isExecutable = false): TarEntry => ({
  path,
  type: 'file',
  isExecutable,
  content: { bytes: Buffer.from(content) },
});

async function collect(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}

describe('packTar', () => {
  it('gives equal bytes whatever the order of the entries', async () => {
    const entries = [text('b/x', '1'), text('a', '2', true), { path: 'b/l', type: 'symlink', target: 'x' } as const];
    const first = await collect(packTar(entries));
    expect(await collect(packTar([...entries].reverse()))).toEqual(first);
  });

  it('gives equal bytes whatever the modification time and the umask of the files', async () => {
    const sums = [0o022, 0o077].map(async (umask) => {
      const before = process.umask(umask);
      const file = join(freshDir(), 'f');
      writeFileSync(file, 'hello');
      process.umask(before);
      return createHash('sha256')
        .update(await collect(packTar([{ path: 'f', type: 'file', isExecutable: false, content: { file, size: 5 } }])))
        .digest('hex');
    });
    expect(await sums[0]).toBe(await sums[1]);
  });

  it('refuses a file that changed its size', async () => {
    const file = join(freshDir(), 'f');
    writeFileSync(file, 'hello');
    await expect(collect(packTar([{ path: 'f', type: 'file', isExecutable: false, content: { file, size: 4 } }]))).rejects.toMatchObject({
      code: 'BUILD_FAILED',
    });
    await expect(
      collect(packTar([{ path: 'f', type: 'file', isExecutable: false, content: { file, size: 2_000_000 } }])),
    ).rejects.toMatchObject({ code: 'BUILD_FAILED' });
  });
});

describe('encodeLayer', () => {
  it('names no operating system in the gzip header and decodes to the tar of its diffID', async () => {
    const layer = encodeLayer([text('a/b', 'x'.repeat(100_000))]);
    const bytes = await collect(layer.bytes);
    expect(bytes[9]).toBe(255);
    expect(`sha256:${createHash('sha256').update(gunzipSync(bytes)).digest('hex')}`).toBe(layer.diffId());
  });

  it('keeps memory flat for large files', async () => {
    const file = join(freshDir(), 'large');
    writeFileSync(file, Buffer.alloc(64 * 1024 * 1024));
    const before = process.memoryUsage.rss();
    let peak = before;
    for await (const part of encodeLayer([{ path: 'large', type: 'file', isExecutable: false, content: { file, size: 64 * 1024 * 1024 } }])
      .bytes) {
      if (part.length > 0) peak = Math.max(peak, process.memoryUsage.rss());
    }
    expect(peak - before).toBeLessThan(40 * 1024 * 1024);
  });
});
