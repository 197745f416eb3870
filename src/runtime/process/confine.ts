import { existsSync } from 'node:fs';

const SHELL = '/bin/sh';
const SETPRIV = '/usr/bin/setpriv';

/** Files that a worker may have open at a time; a lower limit of this machine stays. */
const MOST_FILES = 65_536;

/** Which of the limits that processes inherit there are on this machine. */
export interface Confinement {
  /** No program that a worker runs gains rights by being run (Linux, prctl(2), PR_SET_NO_NEW_PRIVS). */
  readonly hasNoNewPrivileges: boolean;
  readonly hasFileLimit: boolean;
}

/** Reads what is there. */
export function readConfinement(): Confinement {
  return { hasNoNewPrivileges: existsSync(SETPRIV), hasFileLimit: existsSync(SHELL) };
}

/**
 * A command that runs another with the limits that it and all its children keep. They are set once, for the supervisor, so that no start of a
 * worker waits for them. The process that is started becomes the command itself.
 */
export function confine(command: readonly string[], { hasNoNewPrivileges, hasFileLimit }: Confinement): readonly string[] {
  const tight = hasNoNewPrivileges ? [SETPRIV, '--no-new-privs', '--', ...command] : command;
  return hasFileLimit ? [SHELL, '-c', `ulimit -n ${MOST_FILES} 2>/dev/null; exec "$@"`, 'sh', ...tight] : tight;
}
