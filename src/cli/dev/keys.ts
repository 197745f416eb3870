/** A single key and what it does. */
export interface Key {
  readonly key: string;
  /** One or two words for the line of keys. */
  readonly text: string;
  /** Named by the help only: the line of keys has to fit beside what the session says. */
  readonly isRare?: boolean;
  run(): void;
}

/** The part of a terminal that is read from. */
export interface Keyboard {
  setRawMode(isRaw: boolean): unknown;
  resume(): unknown;
  pause(): unknown;
  on(event: 'data', listener: (bytes: Buffer) => void): unknown;
  off(event: 'data', listener: (bytes: Buffer) => void): unknown;
}

const CTRL_C = '\u0003';
const CTRL_D = '\u0004';

/** Runs keys as they are pressed; Ctrl-C and Ctrl-D, which a terminal in raw mode hands through, do as `q`. Gives what ends it. */
export function listenKeys(keyboard: Keyboard, keys: readonly Key[]): () => void {
  const listener = (bytes: Buffer) => {
    // Arrows and function keys come as several characters, and so does what is pasted: none of them is meant.
    const pressed = bytes.toString('utf8');
    const name = pressed === CTRL_C || pressed === CTRL_D ? 'q' : pressed.toLowerCase();
    keys.find(({ key }) => key === name)?.run();
  };
  keyboard.setRawMode(true);
  keyboard.resume();
  keyboard.on('data', listener);
  return () => {
    keyboard.off('data', listener);
    keyboard.setRawMode(false);
    keyboard.pause();
  };
}

/** `r request · q quit`. */
export function formatKeys(keys: readonly Key[]): string {
  return keys.map(({ key, text }) => `${key} ${text}`).join(' · ');
}
