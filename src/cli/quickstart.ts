import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { createApiClient } from '../api/client.js';
import { WherryError } from '../base/errors.js';
import type { StartedServer } from '../compose.js';
import { packageRoot } from '../compose-settings.js';
import { readProject } from '../project/read.js';
import { type Context, untilStopped } from './command.js';
import { buildPhase, deployPhases, pushPhase } from './motion.js';
import { composeOwner } from './owner.js';
import { createPhases, type Phase } from './phases.js';

export interface QuickstartOptions {
  readonly isOnce: boolean;
  readonly host: string | undefined;
  readonly port: number | undefined;
}

interface Answer {
  readonly endpoint: string;
  readonly digest: string;
  readonly release: number;
  readonly output: unknown;
  readonly delayMs: number;
  readonly phases: readonly Phase[];
}

/** The whole motion, in one process: server, two examples from directory to answer, then the next commands. */
export async function quickstart(context: Context, options: QuickstartOptions): Promise<number> {
  const { environment } = context;
  const { dataDir } = await context.settings();
  const server = await composeOwner({ dataDir, environment, host: options.host, port: options.port });
  try {
    const started = await server.start();
    if (started.notice) context.output.warn(started.notice);
    const key = started.adminKey ?? (await context.settings()).apiKey ?? '';
    const answers: Answer[] = [];
    for (const name of ['hello-node', ...(hasPython() ? ['hello-python'] : [])])
      answers.push(await answerFrom(context, { name, started, key }));
    if (answers.length === 1) context.output.warn('no python3 of 3.9 or newer was found: hello-python is left out');
    context.output.result(
      { url: started.url, keyFile: started.keyFile, answers },
      formatAnswers(answers, { started, dataDir, isNew: started.adminKey !== undefined }),
    );
    if (options.isOnce) return 0;
    await untilStopped(context);
    return 0;
  } finally {
    await server.stop({ stopWorkers: options.isOnce });
  }
}

async function answerFrom(
  context: Context,
  { name, started, key }: { name: string; started: StartedServer; key: string },
): Promise<Answer> {
  const { output, environment, signal } = context;
  const { dataDir } = await context.settings();
  const motion = { phases: createPhases(output), output, place: { dataDir, environment, signal } };
  output.talk(name);
  const client = createApiClient({ url: started.url, key });
  const project = await readProject(join(packageRoot(), 'examples', name));
  const built = await buildPhase(project, motion);
  const { reference } = await pushPhase(built, { to: undefined, embedded: { url: started.url, key }, motion });
  const deployed = await deployPhases(client, { endpointId: project.name, reference, project, sourceRevision: built.revision }, motion);
  const job = await motion.phases.run(
    'request',
    () => client.submit(project.name, { input: { name: 'Ada' } }, { waitMs: 60_000 }),
    ({ status, output: value, delayTime }) => `${status} ${JSON.stringify(value)} · ${delayTime} ms until a worker had it`,
  );
  if (job.status !== 'COMPLETED')
    throw new WherryError('WAIT_TIMEOUT', `the request to '${name}' ended ${job.status}: ${JSON.stringify(job.error)}`, {
      hint: `see \`wherry logs -e ${name}\``,
    });
  const { release } = deployed;
  return {
    endpoint: name,
    digest: release.image.digest,
    release: release.number,
    output: job.output,
    delayMs: job.delayTime ?? 0,
    phases: motion.phases.done,
  };
}

function formatAnswers(
  answers: readonly Answer[],
  { started, dataDir, isNew }: { started: StartedServer; dataDir: string; isNew: boolean },
): string {
  const cli = `node ${join(packageRoot(), 'dist/main.js')}`;
  const where = `--data '${dataDir}'`;
  const [first] = answers;
  const name = first?.endpoint ?? '';
  const lines = answers.map(({ endpoint, release, digest, output, phases }) => {
    const times = phases.map(({ name: phase, ms }) => `${phase} ${(ms / 1000).toFixed(2)} s`).join(' · ');
    return `${endpoint} r${release} ${digest}\n  answer  ${JSON.stringify(output)}\n  phases  ${times}`;
  });
  return [
    `wherry serves ${started.url}`,
    ...(isNew ? [`admin key ${started.adminKey} (shown once; kept in ${started.keyFile})`] : []),
    '',
    ...lines,
    '',
    'next',
    `  curl -s ${started.url}/v2/${name}/runsync -H "Authorization: $(cat '${started.keyFile}')" -d '{"input":{"name":"Grace"}}'`,
    `  ${cli} run -e ${name} -i name=Grace ${where}`,
    `  ${cli} logs -e ${name} ${where}`,
    `  ${cli} rollback -e ${name} ${where}`,
  ].join('\n');
}

function hasPython(): boolean {
  try {
    execFileSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 9))'], { stdio: 'ignore', timeout: 10_000 });
    return true;
  } catch {
    return false;
  }
}
