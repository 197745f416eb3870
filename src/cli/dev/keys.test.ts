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
    keyboard.emit('data', Buffer.from('rRx'));
    expect(pressed).toEqual(['r', 'r']);
  });

  it('take Ctrl-C and Ctrl-D as quit', () => {
    const { pressed, keyboard } = open();
    keyboard.emit('data', Buffer.from('\u0003\u0004'));
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
