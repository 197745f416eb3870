/**
 * Text of others for a terminal: control sequences (ECMA-48) would move the cursor, set the title or answer questions nobody asked. Colours
 * may stay; every other sequence goes, and every other control character is shown as `^X`, one that turns the direction of the text around as
 * `?`. Line feeds and tabs stay.
 */
export function toTerminal(text: string, { keepsColours }: { readonly keepsColours: boolean }): string {
  if (!hasControls(text)) return text;
  let shown = '';
  let isColoured = false;
  for (let at = 0; at < text.length; ) {
    const sequence = isIntroducer(text.charCodeAt(at)) ? readSequence(text, at) : '';
    if (sequence !== '') {
      if (keepsColours && isColour(sequence)) {
        shown += sequence;
        isColoured = true;
      }
      at += sequence.length;
    } else {
      shown += showCharacter(text, at);
      at++;
    }
  }
  return isColoured ? `${shown}${RESET}` : shown;
}

/** A value as JSON, with the controls escaped that JSON lets through. */
export function toTerminalJson(value: unknown, indent = 0): string {
  const json = JSON.stringify(value ?? null, null, indent);
  if (!hasControls(json)) return json;
  return [...json].map((character) => (isUpperControl(character.charCodeAt(0)) ? escapeJson(character) : character)).join('');
}

const ESCAPE = 0x1b;
const CSI = 0x9b;
const ST = 0x9c;
const BELL = 0x07;
const RESET = '\u001b[0m';
/** DCS, SOS, OSC, PM, APC: strings up to their terminator, in the eight-bit form; the seven-bit one is 0x40 less after an escape. */
const STRINGS: ReadonlySet<number> = new Set([0x90, 0x98, 0x9d, 0x9e, 0x9f]);

const isUpperControl = (code: number) => code >= 0x7f && code <= 0x9f;
const isIntroducer = (code: number) => code === ESCAPE || (code >= 0x80 && code <= 0x9f);
const isKept = (code: number) => code === 0x0a || code === 0x09;
const isTurning = (code: number) => (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);

function hasControls(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if ((code < 0x20 && !isKept(code)) || isUpperControl(code) || isTurning(code)) return true;
  }
  return false;
}

/** The sequence that begins at `at`, as far as there is text. */
function readSequence(text: string, at: number): string {
  const isShort = text.charCodeAt(at) !== ESCAPE;
  const kind = isShort ? text.charCodeAt(at) : text.charCodeAt(at + 1) + 0x40;
  const from = at + (isShort ? 1 : 2);
  if (kind === CSI) return text.slice(at, endOf(text, from, 0x20, 0x3f));
  if (STRINGS.has(kind)) return text.slice(at, endOfString(text, from));
  return isShort ? text.slice(at, from) : text.slice(at, endOf(text, at + 1, 0x20, 0x2f));
}

/** Behind the final character that follows those between `low` and `high`. What is no character of a sequence ends it. */
function endOf(text: string, from: number, low: number, high: number): number {
  let at = from;
  while (at < text.length && text.charCodeAt(at) >= low && text.charCodeAt(at) <= high) at++;
  const final = text.charCodeAt(at);
  return final >= 0x30 && final <= 0x7e ? at + 1 : at;
}

function endOfString(text: string, from: number): number {
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === BELL || code === ST) return at + 1;
    if (code === ESCAPE) return text[at + 1] === '\\' ? at + 2 : at;
    // Nobody's string goes over lines: what comes next is to be seen.
    if (code === 0x0a) return at;
  }
  return text.length;
}

function isColour(sequence: string): boolean {
  return sequence.startsWith('\u001b[') && sequence.endsWith('m') && /^[\d;:]*$/.test(sequence.slice(2, -1));
}

function showCharacter(text: string, at: number): string {
  const code = text.charCodeAt(at);
  if (isTurning(code)) return '?';
  if (code >= 0x20 && !isUpperControl(code)) return text[at] ?? '';
  if (isKept(code)) return text[at] ?? '';
  // The end of a line as Windows writes it.
  if (code === 0x0d && (text[at + 1] === '\n' || at + 1 === text.length)) return '';
  return code < 0x20 ? `^${String.fromCharCode(code + 0x40)}` : code === 0x7f ? '^?' : '';
}

function escapeJson(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
