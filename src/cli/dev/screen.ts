import { colours, type Output } from '../output.js';

/** Lines that scroll, with one line below them that stays: what `wherry dev` shows on a terminal. */
export interface Screen {
  /** Writes above the line that stays. */
  readonly output: Output;
  /** Replaces the line that stays; it is cut to the width of the terminal. */
  setFooter(text: string): void;
  /** Empties the screen. */
  clear(): void;
  /** Takes the line away. */
  close(): void;
}

/** The part of a terminal that is written to; columns change with the window. */
export interface Terminal {
  readonly columns?: number;
  write(text: string): unknown;
}

const ERASE_LINE = '\r\u001b[2K';
const ERASE_SCREEN = '\u001b[2J\u001b[3J\u001b[H';

/** Without a terminal the output is left as it is, and there is no footer. */
export function createScreen(output: Output, terminal: Terminal | undefined): Screen {
  if (!terminal) return { output, setFooter: () => {}, clear: () => {}, close: () => {} };
  let footer = '';
  const draw = () => {
    if (footer !== '') terminal.write(colours.dim(footer.slice(0, Math.max(0, (terminal.columns || 80) - 1))));
  };
  const erase = () => {
    if (footer !== '') terminal.write(ERASE_LINE);
  };
  const above =
    <A extends readonly unknown[]>(write: (...args: A) => void) =>
    (...args: A): void => {
      erase();
      write(...args);
      draw();
    };
  return {
    output: {
      ...output,
      result: above(output.result),
      line: above(output.line),
      talk: above(output.talk),
      warn: above(output.warn),
      error: above(output.error),
    },
    setFooter: (text) => {
      if (text === footer) return;
      erase();
      footer = text;
      draw();
    },
    clear: () => {
      terminal.write(ERASE_SCREEN);
      draw();
    },
    close: () => {
      erase();
      footer = '';
    },
  };
}
