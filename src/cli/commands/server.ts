import { WherryError } from '../../base/errors.js';
import { type Command, type Context, textOf, untilStopped } from '../command.js';

const SERVER_OPTIONS = [
  { flags: '--host <address>', text: 'address to listen on (default 127.0.0.1)' },
  { flags: '--port <port>', text: 'port (default: 7070 or the next free one, then always the same)' },
] as const;

/** The port option; 0 lets the system choose. Throws USAGE. */
export function portOf({ options }: Context): number | undefined {
  const text = textOf(options, 'port');
  if (text === undefined) return undefined;
  const port = Number(text);
  if (Number.isInteger(port) && port >= 0 && port < 65_536) return port;
  throw new WherryError('USAGE', `--port '${text}' is not a port`, { hint: 'use a number from 0 to 65535' });
}

export const serve: Command = {
  name: 'serve',
  summary: 'run the server',
  options: SERVER_OPTIONS,
  example: 'wherry serve --port 7070',
  async run(context) {
    const { composeOwner } = await import('../owner.js');
    const { dataDir } = await context.settings();
    const server = await composeOwner({
      dataDir,
      environment: context.environment,
      host: textOf(context.options, 'host'),
      port: portOf(context),
    });
    const started = await server.start().catch(async (thrown: unknown) => {
      await server.stop();
      throw thrown;
    });
    const { output } = context;
    if (started.notice) output.warn(started.notice);
    output.line(
      { url: started.url, dataDir, keyFile: started.keyFile, ...(started.adminKey && { adminKey: started.adminKey }) },
      `wherry serves ${started.url}`,
    );
    if (started.adminKey) output.talk(`  admin key  ${started.adminKey}   (shown once; kept in ${started.keyFile})`);
    output.talk(`  data       ${dataDir}\n  API        ${started.url}/api/docs\n  stop       Ctrl-C; workers stay for the next start`);
    await untilStopped(context);
    output.talk('stopping');
    await server.stop();
    return 0;
  },
};

export const up: Command = {
  name: 'up',
  summary: 'start the server, deploy the examples, and answer a request to each',
  options: [...SERVER_OPTIONS, { flags: '--once', text: 'stop after the answers' }],
  example: 'wherry up --once',
  async run(context) {
    const { quickstart } = await import('../quickstart.js');
    return quickstart(context, { isOnce: context.options['once'] === true, host: textOf(context.options, 'host'), port: portOf(context) });
  },
};
