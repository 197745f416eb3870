import { type Command, textOf, textsOf } from '../command.js';
import { portOf } from './server.js';

export const dev: Command = {
  name: 'dev',
  summary: 'run a project on a real server and redeploy it at each change of its files',
  args: '[dir]',
  options: [
    { flags: '--port <port>', text: 'port (default: 7070 or the next free one, then always the same)' },
    {
      flags: '-i, --input-field <name=value>',
      text: 'field of the test request (--once, or the key r): name=text, name=@file, name:=JSON',
      isRepeated: true,
    },
    { flags: '--input <json>', text: "the test request's input as JSON or @file (default: test_input.json)" },
    { flags: '--once', text: 'deploy, send the test request, and stop' },
  ],
  example: 'wherry dev my-worker',
  async run(context) {
    const { runDev } = await import('../dev/dev.js');
    const { args, options } = context;
    return runDev(context, {
      dir: args[0] ?? '.',
      port: portOf(context),
      isOnce: options['once'] === true,
      input: { whole: textOf(options, 'input'), fields: textsOf(options, 'inputField') },
    });
  },
};
