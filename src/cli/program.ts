import { Command as Commander, CommanderError, Option as CommanderOption } from 'commander';
import { WherryError } from '../base/errors.js';
import type { Environment, Settings } from '../compose-settings.js';
import { COMMON_OPTIONS, type Command, type Context, type Option, type OptionValues, textOf } from './command.js';
import { action } from './commands/action.js';
import { createCompletion } from './commands/completion.js';
import { credentials } from './commands/credentials.js';
import { dev } from './commands/dev.js';
import { doctor } from './commands/doctor.js';
import { image } from './commands/image.js';
import { build, deploy, push } from './commands/images.js';
import { jobs, run } from './commands/jobs.js';
import { lint } from './commands/lint.js';
import { logs } from './commands/logs.js';
import { registry } from './commands/registry.js';
import { releases, resume, status } from './commands/releases.js';
import { abort, promote, rollback } from './commands/rollouts.js';
import { scale } from './commands/scale.js';
import { secrets } from './commands/secrets.js';
import { serve, up } from './commands/server.js';
import { explain, init, keys } from './commands/setup.js';
import { test } from './commands/test.js';
import { verify } from './commands/verify.js';
import { webhooks } from './commands/webhooks.js';
import { why } from './commands/why.js';
import { workers } from './commands/workers.js';
import { createOutput, reportError } from './output.js';

const completion = createCompletion(() => COMMANDS);

/** Every command, in the order of help. */
export const COMMANDS: readonly Command[] = [
  init,
  dev,
  lint,
  build,
  push,
  deploy,
  image,
  verify,
  test,
  run,
  jobs,
  releases,
  promote,
  abort,
  rollback,
  resume,
  scale,
  logs,
  workers,
  why,
  webhooks,
  registry,
  credentials,
  secrets,
  status,
  doctor,
  serve,
  up,
  keys,
  explain,
  completion,
  action,
];

export interface Invocation {
  /** Without interpreter and script. */
  readonly argv: readonly string[];
  readonly environment: Environment;
  readonly version: string;
}

/** Runs one command line; gives the exit code (house rules: 0 ok, 1 ran and failed, 2 invalid, …, 130 interrupted). */
export async function runCli(invocation: Invocation): Promise<number> {
  let exitCode = 0;
  const program = new Commander('wherry')
    .description('From a handler function to a container image, deployed by digest as a scale-to-zero worker.')
    .version(invocation.version)
    .showHelpAfterError(false)
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  for (const command of COMMANDS) {
    addCommand(program, command, async (args, options) => {
      exitCode = await runCommand(command, { args, options, invocation });
    });
  }
  try {
    await program.parseAsync([...invocation.argv], { from: 'user' });
    return exitCode;
  } catch (thrown) {
    return endOfParsing(thrown, invocation);
  }
}

type Action = (args: readonly string[], options: OptionValues) => Promise<void>;

function addCommand(program: Commander, command: Command, action: Action): void {
  const made = program
    .command(`${command.name}${command.args ? ` ${command.args}` : ''}`, { hidden: command.isHidden === true })
    .description(command.summary)
    .addHelpText('after', `\nExample:\n  ${command.example}`)
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .action((...received: unknown[]) => {
      const positional = received.slice(0, -2).filter((value): value is string => typeof value === 'string');
      return action(positional, made.opts<OptionValues>());
    });
  for (const option of [...(command.options ?? []), ...COMMON_OPTIONS]) made.addOption(toCommander(option));
}

function toCommander({ flags, text, isRepeated }: Option): CommanderOption {
  const option = new CommanderOption(flags, text);
  if (isRepeated) option.argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value]);
  return option;
}

interface Run {
  readonly args: readonly string[];
  readonly options: OptionValues;
  readonly invocation: Invocation;
}

async function runCommand(command: Command, { args, options, invocation }: Run): Promise<number> {
  const output = createOutput({ isJson: options['json'] === true, isQuiet: options['quiet'] === true, isDebug: options['debug'] === true });
  const interruption = catchSignals();
  const readSettings = async (): Promise<Settings> => {
    const { readSettings: read } = await import('../compose-settings.js');
    return read(invocation.environment, { data: textOf(options, 'data'), apiUrl: textOf(options, 'apiUrl') });
  };
  const context: Context = {
    args,
    options,
    output,
    environment: invocation.environment,
    version: invocation.version,
    signal: interruption.signal,
    settings: readSettings,
    client: async () => {
      const { apiUrl, apiKey } = await readSettings();
      if (!apiUrl)
        throw new WherryError('SERVER_UNAVAILABLE', 'no server is known', {
          hint: 'start one with `wherry serve`, or name it with --api-url or WHERRY_API_URL',
        });
      const { createApiClient } = await import('../api/client.js');
      return createApiClient({ url: apiUrl, key: apiKey ?? '' });
    },
  };
  try {
    return await command.run(context);
  } catch (thrown) {
    if (!interruption.signal.aborted) return reportError(output, thrown);
    output.warn(`wherry ${command.name} was interrupted`);
    return 130;
  } finally {
    interruption.release();
  }
}

/** The first Ctrl-C or SIGTERM asks to stop, the second ends the process. */
function catchSignals(): { readonly signal: AbortSignal; release(): void } {
  const controller = new AbortController();
  const stop = () => controller.abort();
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  return {
    signal: controller.signal,
    release: () => {
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
    },
  };
}

function endOfParsing(thrown: unknown, { argv }: Invocation): number {
  const output = createOutput({ isJson: argv.includes('--json'), isQuiet: false, isDebug: argv.includes('--debug') });
  if (!(thrown instanceof CommanderError)) return reportError(output, thrown);
  if (thrown.exitCode === 0) return 0;
  const message = thrown.code === 'commander.help' ? 'a command is missing' : thrown.message.replace(/^error: /, '');
  return reportError(
    output,
    new WherryError('USAGE', message, { hint: '`wherry --help` lists the commands, `wherry COMMAND --help` its options' }),
  );
}
