/** What is shown in place of a secret. */
export const MASK = '***';

const SECRET_NAME = /(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|APIKEY|[A-Z]*_?KEY|CREDENTIALS?|AUTH)(_|$)/i;
const ASSIGNMENT = /\b([A-Za-z_][A-Za-z0-9_]*)=("[^"]*"|'[^']*'|[^\s"']+)/g;
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
    const value = actual !== '' && SECRET_NAME.test(name) ? MASK : maskAddresses(actual);
    return { name, value, isMasked: value !== actual };
  });
}

/** A command line with the values of such variables masked: build arguments end up in an image's history. */
export function maskCommand(text: string): string {
  const masked = text.replace(ASSIGNMENT, (all, name: string) => (SECRET_NAME.test(name) ? `${name}=${MASK}` : all));
  return maskAddresses(masked);
}

function maskAddresses(text: string): string {
  return text.replace(URL_PASSWORD, `$1${MASK}`);
}
