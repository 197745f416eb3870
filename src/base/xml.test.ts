import { expect, it } from 'vitest';
import { escapeXml } from './xml.js';

it('leaves no mark of XML and no character that XML has no place for', () => {
  expect(escapeXml(`a<b>&"c'`)).toBe('a&lt;b&gt;&amp;&quot;c&apos;');
  expect(escapeXml('a\u0000\u001b\ud800b\n😀')).toBe('ab\n😀');
});
