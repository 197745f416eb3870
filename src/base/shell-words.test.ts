import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatWords, parseWords } from './shell-words.js';

describe('words of a command', () => {
  it.each([
    ['python -u /handler.py', ['python', '-u', '/handler.py']],
    [`sh -c 'echo "a  b"' ""`, ['sh', '-c', 'echo "a  b"', '']],
    [String.raw`a\ b "c \"d\" \n"e`, ['a b', String.raw`c "d" \ne`]],
    ['  ', []],
  ])('%s is split as a shell does', (text, words) => {
    expect(parseWords(text)).toEqual(words);
  });

  it.each([`echo 'a`, `echo "a`, 'a\\'])('%s is refused', (text) => {
    expect(() => parseWords(text)).toThrow('end inside a quote');
  });

  it('come back as they were written', () => {
    fc.assert(
      fc.property(fc.array(fc.string()), (words) => {
        expect(parseWords(formatWords(words))).toEqual(words);
      }),
    );
  });
});
