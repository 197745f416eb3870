import { isSecretName, mayBeSecretName } from '../oci/secret-name.js';

/** What is shown in place of a secret. */
export const MASK = '***';

const ASSIGNMENT = /\b([A-Za-z_][A-Za-z0-9_]*)=("[^"]*"|'[^']*'|[^\s"']+)/g;
/** `--token abc` in a shell's line, or in the JSON of one. */
const OPTION = /((?<![\w-])--?([A-Za-z][\w-]*)["']?(?:\s+|\s*,\s*))("[^"-][^"]*"|'[^'-][^']*'|[^\s"',\]-][^\s"',\]]*)/g;
const URL_PASSWORD = /(\b[a-z][a-z0-9+.-]*:\/\/[^\s/:@]*:)[^\s/@]+(?=@)/gi;

/** One variable of an environment; `value` is the mask when it may be a secret. */
export interface ShownVariable {
  readonly name: string;
  readonly value: string;
  readonly isMasked: boolean;
}

/** Splits `NAME=value` lines (OCI image-spec, config.md, "Env"); masks what looks like a secret by its name or is a password in an address. */
export function showEnvironment(lines: readonly string[] = []): readonly ShownVariable[] {
  return lines.map((line) => {
    const [name = '', ...rest] = line.split('=');
    const actual = rest.join('=');
    const value = actual !== '' && mayBeSecretName(name) ? MASK : maskAddresses(actual);
    return { name, value, isMasked: value !== actual };
  });
}

/** A command line with the values of such variables and options masked: build arguments end up in an image's history. */
export function maskCommand(text: string): string {
  const masked = text
    .replace(ASSIGNMENT, (all, name: string) => (mayBeSecretName(name) ? `${name}=${MASK}` : all))
    .replace(OPTION, (all, before: string, name: string) => (isSecretName(name.replaceAll('-', '_')) ? `${before}${MASK}` : all));
  return maskAddresses(masked);
}

/** The words of a command with what {@link maskCommand} masks: `--token=abc`, and the word behind `--token`. */
export function maskWords(words: readonly string[]): readonly string[] {
  return words.map((word, at) => {
    const [, option] = /^--?([A-Za-z][\w-]*)$/.exec(words[at - 1] ?? '') ?? [];
    return option !== undefined && isSecretName(option.replaceAll('-', '_')) && !word.startsWith('-') ? MASK : maskCommand(word);
  });
}

function maskAddresses(text: string): string {
  return text.replace(URL_PASSWORD, `$1${MASK}`);
}
