import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { COMMON_OPTIONS } from './command.js';
import { COMMANDS } from './program.js';

const ROOT = join(import.meta.dirname, '../..');
const DOCS = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
const PAGES = ['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', ...DOCS.map((name) => `docs/${name}`)];

/** Command lines between back quotes, and those of code blocks. */
function commandLines(page: string): readonly string[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  const inline = [...text.matchAll(/`(?:\w+=\S+ )?wherry ([^`]+)`/g)].map(([, words = '']) => words);
  const blocks = [...text.matchAll(/^```[\s\S]*?^```/gm)].flatMap(([block]) => [...block.matchAll(/^wherry (.+)$/gm)]);
  return [...inline, ...blocks.map(([, words = '']) => words)];
}

const FLAG = /-{1,2}[a-z][a-z-]*/g;

/** What no command has: a name, or an option. */
function unknownIn(line: string): readonly string[] {
  const words = line.split(/\s+/);
  const [name = ''] = words;
  // `--help` and `COMMAND` stand for any.
  if (name.startsWith('-') || /^[A-Z…]/.test(name)) return [];
  const command = COMMANDS.find((each) => each.name === name);
  if (!command) return [name];
  const known = new Set([...COMMON_OPTIONS, ...(command.options ?? [])].flatMap(({ flags }) => flags.match(FLAG) ?? []));
  for (const general of ['--help', '-h']) known.add(general);
  return words.flatMap((word) => (/^--?[a-z]/.test(word) ? [word.split('=')[0] ?? ''] : [])).filter((flag) => !known.has(flag));
}

it('README and docs name commands and options that there are', () => {
  const lines = PAGES.flatMap((page) => commandLines(page).map((line) => ({ page, line })));
  expect(lines.length).toBeGreaterThan(200);
  const wrong = lines.flatMap(({ page, line }) => unknownIn(line).map((word) => `${page}: ${word} in 'wherry ${line}'`));
  expect(wrong).toEqual([]);
});

it('hints name commands and options that there are', () => {
  const files = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) => /(?<!\.test)\.ts$/.test(name));
  const hints = files.flatMap((name) => readFileSync(join(ROOT, 'src', name), 'utf8').match(/hint: ?\n? *['"`].*/g) ?? []);
  const lines = hints.flatMap((hint) => [...hint.matchAll(/\\?`wherry ([^`\\$]+)/g)].map(([, words = '']) => words.trim()));
  expect(lines.length).toBeGreaterThan(20);
  expect(lines.flatMap((line) => unknownIn(line).map((word) => `${word} in 'wherry ${line}'`))).toEqual([]);
  const options = new Set(
    [...COMMON_OPTIONS, ...COMMANDS.flatMap((command) => command.options ?? [])].flatMap(({ flags }) => flags.match(FLAG) ?? []),
  );
  const ours = hints.filter((hint) => !/\bdocker /.test(hint));
  const flags = ours.flatMap((hint) => hint.match(/(?<= |'|`)--[a-z][a-z-]+/g) ?? []);
  expect(flags.length).toBeGreaterThan(10);
  expect(flags.filter((flag) => flag !== '--help' && !options.has(flag))).toEqual([]);
});
