import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { formatCliPage } from './page.js';
import { COMMANDS } from './program.js';

describe('docs/cli.md', () => {
  it('is what the command table says; `npm run docs` writes it anew', () => {
    expect(readFileSync(new URL('../../docs/cli.md', import.meta.url), 'utf8')).toBe(formatCliPage(COMMANDS));
  });
});

describe('formatCliPage', () => {
  const run = async () => 0;

  it('gives a command its summary, usage, options with defaults, and example', () => {
    const options = [
      { flags: '-w, --wide', text: 'more columns' },
      { flags: '--limit <n>', text: 'at most so many (default 20)', isRepeated: true },
    ];
    const page = formatCliPage([{ name: 'show', summary: 'show a|b', args: '[id]', options, example: 'wherry show 1', run }]);
    expect(page.slice(page.indexOf('## show'))).toBe(
      [
        '## show\n',
        'Show a|b.\n',
        'Usage: `wherry show [id] [options]`\n',
        '| Option | Meaning | Default |',
        '| --- | --- | --- |',
        '| `-w, --wide` | more columns | |',
        '| `--limit <n>` | at most so many; may be repeated | 20 |\n',
        'Example: `wherry show 1`\n',
      ].join('\n'),
    );
  });

  it('leaves out hidden commands', () => {
    expect(formatCliPage([{ name: 'secret', summary: 's', example: 'e', isHidden: true, run }])).not.toContain('secret');
  });

  it('lists every exit code once', () => {
    const codes = [...formatCliPage([]).matchAll(/^\| (\d+) \|/gm)].map(([, code]) => code);
    expect(codes).toEqual(['0', '1', '2', '3', '4', '5', '6', '70', '130']);
  });
});
