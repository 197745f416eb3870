import { EventEmitter } from 'node:events';
import { describe, expect, it } from 'vitest';
import { formatKeys, listenKeys } from './keys.js';

function open() {
  const pressed: string[] = [];
  const raw: boolean[] = [];
  const keyboard = Object.assign(new EventEmitter(), { setRawMode: (is: boolean) => raw.push(is), resume: () => {}, pause: () => {} });
  const stop = listenKeys(
    keyboard,
    ['r', 'q'].map((key) => ({ key, text: key, run: () => void pressed.push(key) })),
  );
  return { pressed, raw, keyboard, stop };
}

describe('keys', () => {
  it('run what they stand for, in either case, and other keys do nothing', () => {
    const { pressed, keyboard } = open();
    for (const key of 'rRx') keyboard.emit('data', Buffer.from(key));
    expect(pressed).toEqual(['r', 'r']);
  });

  it('are not found in arrows, function keys and pasted text', () => {
    const { pressed, keyboard } = open();
    for (const text of ['\u001b[D', '\u001bOQ', '\u001bOR', 'pasted rq']) keyboard.emit('data', Buffer.from(text));
    expect(pressed).toEqual([]);
  });

  it('take Ctrl-C and Ctrl-D as quit', () => {
    const { pressed, keyboard } = open();
    for (const key of ['\u0003', '\u0004']) keyboard.emit('data', Buffer.from(key));
    expect(pressed).toEqual(['q', 'q']);
  });

  it('give the terminal back as it was', () => {
    const { pressed, raw, keyboard, stop } = open();
    stop();
    keyboard.emit('data', Buffer.from('r'));
    expect({ pressed, raw }).toEqual({ pressed: [], raw: [true, false] });
  });

  it('are named on one line', () => {
    expect(formatKeys([{ key: 'r', text: 'request', run: () => {} }])).toBe('r request');
  });
});
