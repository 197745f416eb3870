// Functions, constants and classes that src exports and no other file of the repository names: dead, or private.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';

const EXPORTED = /^export (?:async )?(?:function\*?|const|class) ([\w$]+)/gm;

/** Sentences for exported values that nothing imports. Types are part of what uses them. */
export function listUnusedValues() {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', 'src', 'test', 'bench', 'scripts'], { encoding: 'utf8' });
  const files = listed.split('\n').filter((file) => /\.(ts|mjs)$/.test(file) && existsSync(file));
  const texts = new Map(files.map((file) => [file, readFileSync(file, 'utf8')]));
  const words = new Map([...texts].map(([file, text]) => [file, new Set(text.match(/[\w$]+/g))]));
  const isUsed = (name, home) => files.some((file) => file !== home && words.get(file)?.has(name));
  return files
    .filter((file) => file.startsWith('src/'))
    .flatMap((file) => [...(texts.get(file) ?? '').matchAll(EXPORTED)].map(([, name]) => ({ file, name })))
    .filter(({ file, name }) => !isUsed(name, file))
    .map(({ file, name }) => `${file} exports '${name}', which nothing else uses`);
}
