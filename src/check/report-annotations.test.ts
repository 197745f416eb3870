import { describe, expect, it } from 'vitest';
import { formatAnnotation, formatCommand } from './report-annotations.js';

describe('workflow commands', () => {
  it('are one line whatever they hold, and nothing in them is another property or command', () => {
    expect(formatCommand('error', '50%\r\n::set-env::', { file: 'a,b:c%.json', line: 3 })).toBe(
      '::error file=a%2Cb%3Ac%25.json,line=3::50%25%0D%0A::set-env::',
    );
    expect(formatCommand('endgroup', '')).toBe('::endgroup::');
  });

  it('say how much of a long text they leave out', () => {
    expect(formatAnnotation('x'.repeat(5_000), { title: 't' })).toMatch(/^::error title=t::x{4000}… \(5000 characters\)$/);
  });
});
