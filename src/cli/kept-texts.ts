import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { markUsed } from '../base/use-mark.js';
import type { Memory } from '../image/known-packages.js';

/** Texts in files of a folder. A disk that refuses costs time, not the command. */
export function openKeptTexts(dir: string): Memory {
  return {
    async get(key) {
      const file = join(dir, key);
      return (await markUsed(file).catch(() => false)) ? readFile(file, 'utf8').catch(() => undefined) : undefined;
    },
    async put(key, text) {
      const path = join(dir, `.${randomUUID()}`);
      await mkdir(dir, { recursive: true })
        .then(() => writeFile(path, text))
        .then(() => rename(path, join(dir, key)))
        .catch(() => {});
    },
  };
}
