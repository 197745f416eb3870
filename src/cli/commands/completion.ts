import { WherryError } from '../../base/errors.js';
import { COMMON_OPTIONS, type Command } from '../command.js';

/** Shell completion out of the command table; `commands` is passed in because the table holds this command too. */
export function createCompletion(commands: () => readonly Command[]): Command {
  return {
    name: 'completion',
    summary: 'print a completion script for bash, zsh or fish',
    args: '<shell>',
    example: 'wherry completion bash',
    async run({ args, output }) {
      const shell = args[0] ?? '';
      const scripts: Readonly<Record<string, (commands: readonly Command[]) => string>> = { bash, zsh, fish };
      const script = scripts[shell]?.(commands().filter(({ isHidden }) => !isHidden));
      if (script === undefined) throw new WherryError('USAGE', `no completion for '${shell}'`, { hint: 'use bash, zsh or fish' });
      output.result({ shell, script }, script);
      return 0;
    },
  };
}

function flagsOf({ options = [] }: Command): string[] {
  return [...options, ...COMMON_OPTIONS].flatMap(({ flags }) => flags.match(/--[a-z-]+/g) ?? []);
}

function bash(commands: readonly Command[]): string {
  const cases = commands.map((command) => `    ${command.name}) words="${flagsOf(command).join(' ')}" ;;`).join('\n');
  return `_wherry() {
  local word="\${COMP_WORDS[COMP_CWORD]}" words
  case "\${COMP_WORDS[1]}" in
${cases}
    *) words="" ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then words="${commands.map(({ name }) => name).join(' ')}"; fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _wherry wherry`;
}

function zsh(commands: readonly Command[]): string {
  return `autoload -U +X bashcompinit && bashcompinit\n${bash(commands)}`;
}

function fish(commands: readonly Command[]): string {
  return commands
    .flatMap((command) => [
      `complete -c wherry -n __fish_use_subcommand -a ${command.name} -d '${command.summary.replaceAll("'", "\\'")}'`,
      ...flagsOf(command).map((flag) => `complete -c wherry -n '__fish_seen_subcommand_from ${command.name}' -l ${flag.slice(2)}`),
    ])
    .join('\n');
}
