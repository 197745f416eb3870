/** An order that a step printed and the runner took. */
export interface Order {
  readonly name: string;
  readonly text: string;
  readonly properties: Readonly<Record<string, string>>;
}

/** What a runner makes of the lines of its steps: orders are taken, the rest is shown with what is masked as `***`. */
export interface StepLog {
  /** As it is shown. */
  readonly lines: string[];
  readonly orders: Order[];
  /** Begins a step, whose orders count whatever the one before stopped; gives what takes its lines. */
  open(): (line: string) => void;
}

const ORDER = /^\s*::([\w-]+)(?: ([^:]*))?::(.*)$/s;
const KNOWN = ['error', 'warning', 'notice', 'debug', 'group', 'endgroup', 'add-mask', 'stop-commands', 'echo'];

export function openLog(): StepLog {
  const lines: string[] = [];
  const orders: Order[] = [];
  const masks: string[] = [];
  const show = (line: string): void => {
    lines.push(masks.reduce((shown, mask) => shown.replaceAll(mask, '***'), line));
  };
  const open = () => {
    let stoppedBy: string | undefined;
    return (line: string): void => {
      const [, name = '', listed = '', text = ''] = ORDER.exec(line) ?? [];
      if (stoppedBy !== undefined && name === stoppedBy) {
        stoppedBy = undefined;
        return;
      }
      if (stoppedBy !== undefined || !KNOWN.includes(name)) {
        show(line);
        return;
      }
      if (name === 'stop-commands') stoppedBy = text;
      else if (name === 'add-mask') masks.push(...[unescapeText(text), ...unescapeText(text).split(/\r?\n/)].filter(Boolean));
      orders.push({ name, text: unescapeText(text), properties: readProperties(listed) });
      // The text of an annotation is a line of the log too; the others are the runner's own.
      if (['error', 'warning', 'notice', 'group'].includes(name)) for (const part of unescapeText(text).split('\n')) show(part);
    };
  };
  return { lines, orders, open };
}

const unescapeText = (text: string): string => text.replaceAll('%0D', '\r').replaceAll('%0A', '\n').replaceAll('%25', '%');
const unescapeProperty = (text: string): string => unescapeText(text.replaceAll('%3A', ':').replaceAll('%2C', ','));

function readProperties(listed: string): Readonly<Record<string, string>> {
  const pairs = listed.split(',').filter((pair) => pair.includes('='));
  return Object.fromEntries(
    pairs.map((pair) => [pair.slice(0, pair.indexOf('=')).trim(), unescapeProperty(pair.slice(pair.indexOf('=') + 1))]),
  );
}
