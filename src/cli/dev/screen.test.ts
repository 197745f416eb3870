import { describe, expect, it } from 'vitest';
import type { Output } from '../output.js';
import { createScreen } from './screen.js';

const ERASE = '\r\u001b[2K';

function open(columns = 20) {
  const written: string[] = [];
  const write = (_value: unknown, text: string) => void written.push(`${text}\n`);
  const say = (text: string) => void written.push(`${text}\n`);
  const output: Output = { isJson: false, isTalking: true, result: write, line: write, talk: say, warn: say, error: () => {} };
  return { written, screen: createScreen(output, { columns, write: (text) => void written.push(text) }) };
}

describe('the screen', () => {
  it('writes lines above the footer, which stays last', () => {
    const { written, screen } = open();
    screen.setFooter('keys');
    screen.output.line({}, 'a line');
    expect(written).toEqual(['keys', ERASE, 'a line\n', 'keys']);
  });

  it('cuts the footer to the width of the terminal, so that it never wraps', () => {
    const { written, screen } = open(5);
    screen.setFooter('abcdefgh');
    expect(written).toEqual(['abcd']);
  });

  it('draws a footer only when it changed, and leaves nothing of it behind', () => {
    const { written, screen } = open();
    screen.setFooter('a');
    screen.setFooter('a');
    screen.close();
    screen.output.talk('after');
    expect(written).toEqual(['a', ERASE, 'after\n']);
  });
});
