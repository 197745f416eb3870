import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { replaceDurably, replaceFile } from './durable-file.js';

function setup(): string {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-durable-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  return dir;
}

it.each([
  ['replaceFile', replaceFile],
  ['replaceDurably', replaceDurably],
])('%s lets many write the same file at once and leaves one of the texts, whole', async (_name, replace) => {
  const dir = setup();
  const texts = Array.from({ length: 20 }, (_, index) => String(index).repeat(10_000));
  await Promise.all(texts.map((text) => replace(join(dir, 'file'), text)));
  expect(texts).toContain(readFileSync(join(dir, 'file'), 'utf8'));
  expect(readdirSync(dir)).toEqual(['file']);
});

it('leaves nothing where the file cannot be replaced', async () => {
  const dir = setup();
  mkdirSync(join(dir, 'file'));
  await expect(replaceFile(join(dir, 'file'), 'text')).rejects.toMatchObject({ code: 'EISDIR' });
  expect(readdirSync(dir)).toEqual(['file']);
});
