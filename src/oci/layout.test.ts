import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { digestOf } from './digest.js';
import { openLayout } from './layout.js';

function setup(): string {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-layout-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return dir;
}

it.each(['file', 'file/below'])('refuses %s as a directory and names it', async (path) => {
  const dir = setup();
  writeFileSync(join(dir, 'file'), '');
  await expect(openLayout(join(dir, path))).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(join(dir, path)),
  });
});

it.each(['', '{"a":1}', '[]', '{"schemaVersion":2,"manifests":[null]}'])('names an index.json of %j and what to do', async (text) => {
  const dir = setup();
  const layout = await openLayout(dir);
  writeFileSync(join(dir, 'index.json'), text);
  const refused = {
    code: 'MANIFEST_INVALID',
    message: expect.stringContaining(join(dir, 'index.json')),
    hint: expect.stringContaining('remove'),
  };
  await expect(layout.getRef('a')).rejects.toMatchObject(refused);
  await expect(layout.putRef('a', { mediaType: 'a', digest: digestOf(''), size: 0 })).rejects.toMatchObject(refused);
});
