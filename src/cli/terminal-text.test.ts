import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toTerminal, toTerminalJson } from './terminal-text.js';

const plain = (text: string) => toTerminal(text, { keepsColours: false });
const coloured = (text: string) => toTerminal(text, { keepsColours: true });

describe('text for a terminal', () => {
  it.each([
    ['words, ☃ and\ttabs\nover lines', 'words, ☃ and\ttabs\nover lines'],
    ['\u001b[31mred\u001b[0m', 'red'],
    ['a\u001b[2J\u001b[1;1Hb', 'ab'],
    ['a\u001b]0;title\u0007b\u001b]8;;http://x\u001b\\c', 'abc'],
    ['a\u001bPq#0\u001b\\b\u001b_x\u001b\\c', 'abc'],
    ['a\u001b(Bb\u001b7c\u001bcd', 'abcd'],
    ['a\u009b31mb\u0085c\u009dtitle\u009cd', 'abcd'],
    ['bell\u0007 null\u0000 delete\u007f back\u0008', 'bell^G null^@ delete^? back^H'],
    ['10 %\r20 %\r\nnext\r', '10 %^M20 %\nnext'],
    ['exe.\u202etxt and \u2066x', 'exe.?txt and ?x'],
    ['torn \u001b[31', 'torn '],
    ['torn \u001b', 'torn '],
    ['a title without an end \u001b]0;x\nis seen', 'a title without an end \nis seen'],
  ])('%j is shown as %j', (text, shown) => {
    expect(plain(text)).toBe(shown);
  });

  it('keeps colours where they are wanted, ends them, and drops everything else', () => {
    expect(coloured('\u001b[31mred\u001b[2J')).toBe('\u001b[31mred\u001b[0m');
    expect(coloured('\u001b[?25l\u001b[>4;1mx')).toBe('x');
    expect(coloured('plain')).toBe('plain');
  });

  it('never lets a control character through, whatever the text is', () => {
    const nasty = fc.string({ unit: fc.integer({ min: 0, max: 0xa0 }).map((code) => String.fromCharCode(code)), maxLength: 40 });
    const isControl = (character: string) =>
      (character < ' ' && !'\n\t'.includes(character)) || (character >= '\u007f' && character <= '\u009f');
    fc.assert(fc.property(nasty, (text) => ![...plain(text)].some(isControl)));
    const withoutColours = (text: string) =>
      coloured(text)
        .split('\u001b[')
        .map((part, index) => (index === 0 ? part : part.replace(/^[\d;:]*m/, '')));
    fc.assert(fc.property(nasty, (text) => !withoutColours(text).join('').split('').some(isControl)));
  });

  it('escapes what JSON leaves as it is', () => {
    const value = { text: 'a\u009b2J\u007f☃' };
    expect(toTerminalJson(value)).toBe('{"text":"a\\u009b2J\\u007f☃"}');
    expect(JSON.parse(toTerminalJson(value, 2))).toEqual(value);
  });
});
