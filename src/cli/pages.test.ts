import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { COMMON_OPTIONS } from './command.js';
import { COMMANDS } from './program.js';

const ROOT = join(import.meta.dirname, '../..');
const DOCS = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
const PAGES = ['README.md', 'ARCHITECTURE.md', ...DOCS.map((name) => `docs/${name}`)];

/** Command lines between back quotes, and those of code blocks. */
function commandLines(page: string): readonly string[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  const inline = [...text.matchAll(/`(?:\w+=\S+ )?wherry ([^`]+)`/g)].map(([, words = '']) => words);
  const blocks = [...text.matchAll(/^```[\s\S]*?^```/gm)].flatMap(([block]) => [...block.matchAll(/^wherry (.+)$/gm)]);
  return [...inline, ...blocks.map(([, words = '']) => words)];
}

/** What no command has: a name, or an option. */
function unknownIn(line: string): readonly string[] {
  const words = line.split(/\s+/);
  const [name = ''] = words;
  // `--help` and `COMMAND` stand for any.
  if (name.startsWith('-') || /^[A-Z…]/.test(name)) return [];
  const command = COMMANDS.find((each) => each.name === name);
  if (!command) return [name];
  const known = new Set([...COMMON_OPTIONS, ...(command.options ?? [])].flatMap(({ flags }) => flags.match(/-{1,2}[a-z][a-z-]*/g) ?? []));
  for (const general of ['--help', '-h']) known.add(general);
  return words.flatMap((word) => (/^--?[a-z]/.test(word) ? [word.split('=')[0] ?? ''] : [])).filter((flag) => !known.has(flag));
}

it('README and docs name commands and options that there are', () => {
  const lines = PAGES.flatMap((page) => commandLines(page).map((line) => ({ page, line })));
  expect(lines.length).toBeGreaterThan(200);
  const wrong = lines.flatMap(({ page, line }) => unknownIn(line).map((word) => `${page}: ${word} in 'wherry ${line}'`));
  expect(wrong).toEqual([]);
});
