import { messageOf, WherryError } from '../base/errors.js';

/**
 * A test of texts by a regular expression in RE2's syntax: it takes no longer than a text is long, whatever the expression is, so that
 * nobody holds the server up with one. Throws REQUEST_INVALID.
 */
export async function compilePattern(pattern: string): Promise<(text: string) => boolean> {
  // Loaded by whoever searches first.
  const { RE2JS } = await import('re2js');
  try {
    const compiled = RE2JS.compile(pattern);
    return (text) => compiled.test(text);
  } catch (cause) {
    throw new WherryError('REQUEST_INVALID', `grep '${pattern}' is not a regular expression: ${messageOf(cause)}`, {
      hint: 'use the syntax of RE2: no look-around, no back-references; (?i) before it ignores case',
      cause,
    });
  }
}
