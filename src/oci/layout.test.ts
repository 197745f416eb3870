import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
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
