import picocolors from 'picocolors';
import { toWherryError, type WherryError } from '../base/errors.js';
import { formatBytes } from '../base/size.js';
import type { ImageSize } from '../oci/manifest.js';
import { toTerminal, toTerminalJson } from './terminal-text.js';

/** Colours for people: none when the stream is piped, also in CI, and none when NO_COLOR asks. */
export const colours = picocolors.createColors(picocolors.isColorSupported && process.stdout.isTTY === true);

/** Data goes to stdout, talk to stderr; with `--json` stdout holds one document. */
export interface Output {
  readonly isJson: boolean;
  /** People watch: talk is shown. */
  readonly isTalking: boolean;
  /** The command's result: `value` with --json, else `text`. */
  result(value: unknown, text: string): void;
  /** One line of data while the command runs (a log line, for instance). */
  line(value: unknown, text: string): void;
  /** Progress and explanations; silent when piped. */
  talk(text: string): void;
  warn(text: string): void;
  error(error: WherryError): void;
}

interface OutputOptions {
  readonly isJson: boolean;
  readonly isQuiet: boolean;
  readonly isDebug: boolean;
}

export function createOutput({ isJson, isQuiet, isDebug }: OutputOptions): Output {
  const isTalking = !isQuiet && process.stderr.isTTY === true;
  const print = (text: string) => writeTo(process.stdout, text);
  const say = (text: string) => writeTo(process.stderr, text);
  return {
    isJson,
    isTalking,
    result: (value, text) => {
      if (isJson) print(toTerminalJson(value, 2));
      else if (text !== '') print(text);
    },
    line: (value, text) => print(isJson ? toTerminalJson(value) : text),
    talk: (text) => {
      if (isTalking) say(text);
    },
    warn: (text) => say(`${colours.yellow('warning')}  ${toPlain(text)}`),
    error: (error) => {
      const { code, message, hint, detail } = error;
      if (isJson) print(toTerminalJson({ error: { code, message, hint, detail } }));
      say(`${colours.red('error')} ${code}  ${toPlain(message)}`);
      if (hint) say(`  ${colours.dim('fix')}  ${toPlain(hint)}`);
      if (isDebug || code === 'INTERNAL') say(stackOf(error));
    },
  };
}

/** Names of files and what images hold come from strangers, and are one line: what would steer the terminal is shown as `?`, a line break as a space. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it looks for.
  return text.replace(/\s/g, ' ').replace(/[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, '?');
}

/** What is said of a name or a message of somebody else, also where it is piped to. */
const toPlain = (text: string) => toTerminal(text, { keepsColours: false });

/** What others wrote (results, log lines, errors) does not get at the terminal; a pipe gets it as it is. */
function writeTo(stream: NodeJS.WriteStream, text: string): void {
  stream.write(`${stream.isTTY === true ? toTerminal(text, { keepsColours: true }) : text}\n`);
}

function stackOf(error: WherryError): string {
  const { cause } = error;
  return cause instanceof Error ? `${error.stack ?? ''}\ncaused by ${cause.stack ?? cause.message}` : (error.stack ?? '');
}

/** Columns padded to their widest cell; the head is dim. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => (row[column] ?? '').length)));
  const format = (cells: readonly string[]) =>
    cells
      .map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd();
  return [colours.dim(format(head)), ...rows.map(format)].join('\n');
}

/** `3 s ago`, `2 min ago`; the exact moment is in --json. */
export function formatAgo(at: string, now: number): string {
  return `${formatSpan(now - Date.parse(at))} ago`;
}

/** `in 2 min`; `now` once it is over. */
export function formatLeft(at: string, now: number): string {
  const leftMs = Date.parse(at) - now;
  return leftMs > 0 ? `in ${formatSpan(leftMs)}` : 'now';
}

function formatSpan(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}

/** `1.4 MiB compressed, 3 layers`. */
export function formatSize({ bytes, layers }: ImageSize): string {
  return `${formatBytes(bytes)} compressed, ${layers} ${layers === 1 ? 'layer' : 'layers'}`;
}

/** Any thrown value for the last line of a command. */
export function reportError(output: Output, thrown: unknown): number {
  const error = toWherryError(thrown);
  output.error(error);
  return error.exitCode;
}
