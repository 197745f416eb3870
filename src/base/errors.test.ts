import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ERROR_KINDS, ERRORS, toWherryError, WherryError } from './errors.js';

const page = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');

describe('errors', () => {
  it('are explained one by one in docs/errors.md, each with its kind', () => {
    const explained = [...page.matchAll(/^\| `([A-Z_]+)` \| (\w+) \| (.+) \| (.+) \|$/gm)].map(([, code, kind]) => [code, kind]);
    expect(Object.fromEntries(explained)).toEqual(ERRORS);
  });

  it('have kinds whose status and exit code the page shows', () => {
    const shown = [...page.matchAll(/^\| (\w+) \| (\d+) \| (\d+) \| (yes|no) \|$/gm)].map(([, kind, status, exit, retry]) => [
      kind,
      { status: Number(status), exit: Number(exit), isRetryable: retry === 'yes' },
    ]);
    expect(Object.fromEntries(shown)).toEqual(ERROR_KINDS);
  });

  it('keep their code through toWherryError; anything else is INTERNAL with its cause', () => {
    const known = new WherryError('DENIED', 'no');
    expect(toWherryError(known)).toBe(known);
    const foreign = new TypeError('x');
    expect(toWherryError(foreign)).toMatchObject({ code: 'INTERNAL', status: 500, exitCode: 70, cause: foreign });
  });
});
