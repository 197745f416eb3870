import { WherryError } from './errors.js';

const WORD = /\s+|'([^']*)'|"((?:[^"\\]|\\[\s\S])*)"|\\([\s\S])|([^\s'"\\]+)/gy;

/** The words of a command as a POSIX shell splits it, without any expansion. Throws REQUEST_INVALID when a quote stays open. */
export function parseWords(text: string): readonly string[] {
  const words: string[] = [];
  let word: string | undefined;
  let end = 0;
  for (const match of text.matchAll(WORD)) {
    const [whole, single, double, escaped, bare] = match;
    end = match.index + whole.length;
    const part = single ?? double?.replace(/\\(["\\$`])/g, '$1') ?? escaped ?? bare;
    if (part !== undefined) word = (word ?? '') + part;
    else if (word !== undefined) {
      words.push(word);
      word = undefined;
    }
  }
  if (end < text.length) {
    throw new WherryError('REQUEST_INVALID', `the arguments '${text}' end inside a quote`, {
      hint: 'close it, or escape it with a backslash',
    });
  }
  return word === undefined ? words : [...words, word];
}

/** The text of words; {@link parseWords} reads them back. */
export function formatWords(words: readonly string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`)).join(' ');
}
