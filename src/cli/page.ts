import { ERROR_KINDS } from '../base/errors.js';
import { COMMON_OPTIONS, type Command, type Option } from './command.js';

interface SplitText {
  readonly text: string;
  readonly standard: string;
}

/** `docs/cli.md` as text, made of the command table; `npm run docs` writes it, a test compares. */
export function formatCliPage(commands: readonly Command[]): string {
  const shown = commands.filter(({ isHidden }) => !isHidden);
  const sections = [
    '# Commands',
    'Made by `npm run docs` out of the command table (`src/cli/commands`); change it there. A test fails when the two differ.',
    shown.map(({ name }) => `[${name}](#${name})`).join(' · '),
    '## Every command',
    'Results go to stdout, everything else to stderr. Options that each command takes besides its own:',
    formatOptions(COMMON_OPTIONS),
    formatExits(),
    ...shown.flatMap(formatCommand),
  ];
  return `${sections.join('\n\n')}\n`;
}

function formatCommand({ name, summary, args, options = [], example }: Command): readonly string[] {
  const usage = ['wherry', name, args, '[options]'].filter((part) => part !== undefined).join(' ');
  return [
    `## ${name}`,
    `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`,
    `Usage: \`${usage}\``,
    ...(options.length === 0 ? [] : [formatOptions(options)]),
    `Example: \`${example}\``,
  ];
}

function formatOptions(options: readonly Option[]): string {
  const rows = options.map((option) => {
    const { text, standard } = splitDefault(option.text);
    return [`\`${option.flags}\``, option.isRepeated ? `${text}; may be repeated` : text, standard];
  });
  return formatRows(['Option', 'Meaning', 'Default'], rows);
}

/** Option texts end with their default in brackets. */
function splitDefault(text: string): SplitText {
  const found = /^(?<rest>.*) \(default:? (?<standard>.+)\)$/.exec(text)?.groups;
  return { text: found?.['rest'] ?? text, standard: found?.['standard'] ?? '' };
}

function formatExits(): string {
  const codes = [...new Set(Object.values(ERROR_KINDS).map(({ exit }) => exit))].sort((a, b) => a - b);
  const kindsOf = (code: number) =>
    Object.entries(ERROR_KINDS)
      .filter(([, { exit }]) => exit === code)
      .map(([kind]) => `\`${kind}\``)
      .join(', ');
  return formatRows(
    ['Exit code', 'Meaning'],
    [
      ['0', 'success'],
      ['1', 'what was asked for ran and failed, for instance a job'],
      ...codes.map((code) => [String(code), `refused or broken: errors of kind ${kindsOf(code)} ([errors](errors.md))`]),
      ['130', 'interrupted'],
    ],
  );
}

function formatRows(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`.replaceAll('  |', ' |');
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
