import type { CollectedView, RegistryView, VerifyFaultView, VerifyLineView } from '../../api/resources.js';
import { WherryError } from '../../base/errors.js';
import { formatBytes } from '../../base/size.js';
import { type Command, type Context, findAction } from '../command.js';
import { formatTable } from '../output.js';

export const registry: Command = {
  name: 'registry',
  summary: 'list what the embedded registry holds; collect what nothing needs; verify every byte',
  args: '[action]',
  options: [
    { flags: '--dry-run', text: 'collect: only say what would go' },
    { flags: '--repair', text: 'verify: set damaged blobs aside, so that the next push or pull brings them' },
  ],
  example: 'wherry registry verify',
  async run(context) {
    const [action = 'list'] = context.args;
    const actions: Readonly<Record<string, (context: Context) => Promise<number>>> = { list, collect, verify };
    const chosen = findAction(actions, action);
    if (chosen) return chosen(context);
    throw new WherryError('USAGE', `'${action}' is not something to do with the registry`, { hint: 'use list, collect or verify' });
  },
};

async function list({ client, output }: Context): Promise<number> {
  const state = await (await client()).registry();
  const rows = state.repositories.map(({ repository, tags, manifests, bytes, exclusiveBytes }) => [
    repository,
    String(tags.length),
    String(manifests),
    formatBytes(bytes),
    formatBytes(exclusiveBytes),
  ]);
  const table = rows.length === 0 ? 'no repositories' : formatTable(['repository', 'tags', 'manifests', 'size', 'its own'], rows);
  output.result(state, `${table}\n${summarise(state)}`);
  return 0;
}

function summarise({ blobs, bytes, unnamedBytes, quotaBytes, isReadOnly }: RegistryView): string {
  const quota = quotaBytes === null ? '' : ` of at most ${formatBytes(quotaBytes)}`;
  const unnamed = unnamedBytes === 0 ? '' : `, ${formatBytes(unnamedBytes)} of them in no repository`;
  return `${formatBytes(bytes)}${quota} in ${blobs} blobs${unnamed}${isReadOnly ? '; read-only' : ''}`;
}

async function collect({ client, options, output }: Context): Promise<number> {
  const collected = await (await client()).collectRegistry({ dryRun: options['dryRun'] === true });
  for (const { repository, reason } of collected.skipped) output.warn(`nothing of '${repository}' was collected: ${reason}`);
  output.result(collected, describeCollected(collected));
  return 0;
}

function describeCollected({ isDryRun, repositories, blobs, freedBytes }: CollectedView): string {
  const rows = repositories.map((one) => [
    one.repository,
    one.tags.length === 0 ? '0' : `${one.tags.length} (${one.tags.join(' ')})`,
    String(one.manifests.length),
    String(one.blobs),
  ]);
  const table = rows.length === 0 ? '' : `${formatTable(['repository', 'tags', 'manifests', 'blobs'], rows)}\n`;
  return `${table}${isDryRun ? 'would free' : 'freed'} ${formatBytes(freedBytes)} in ${blobs} blobs`;
}

async function verify({ client, options, output, signal }: Context): Promise<number> {
  const faults: VerifyFaultView[] = [];
  const progress = createProgress(output.talk);
  for await (const line of (await client()).verifyRegistry({ repair: options['repair'] === true }, signal)) {
    if (line.kind === 'progress') progress(line);
    if (line.kind === 'fault') faults.push(line);
    if (line.kind === 'error')
      throw new WherryError('STORE_UNAVAILABLE', `the registry could not be verified: ${line.message}`, { hint: 'read the server log' });
    if (line.kind !== 'end') continue;
    const { blobs, bytes } = line;
    const sum = `${blobs} blobs with ${formatBytes(bytes)} verified: ${faults.length === 0 ? 'all sound' : `${faults.length} faults`}`;
    output.result({ blobs, bytes, faults }, [...faults.map(describeFault), sum].join('\n'));
    return faults.length === 0 ? 0 : 1;
  }
  throw new WherryError('SERVER_UNAVAILABLE', 'the server went away while it verified', { hint: 'look at its log, then verify again' });
}

type Progress = Extract<VerifyLineView, { kind: 'progress' }>;

/** A line at each tenth of the bytes: a verification of much takes long. */
function createProgress(talk: (text: string) => void): (line: Progress) => void {
  let tenths = 0;
  return ({ bytes, totalBytes }) => {
    const now = Math.floor((bytes * 10) / Math.max(1, totalBytes));
    if (now > tenths) talk(`  ${now * 10} %  ${formatBytes(bytes)} of ${formatBytes(totalBytes)}`);
    tenths = now;
  };
}

function describeFault({ digest, fault, message, neededBy, setAside }: VerifyFaultView): string {
  const needs = neededBy.length === 0 ? 'nothing that is named needs it' : `needed by ${neededBy.join(', ')}`;
  return `${fault}  ${digest}: ${message}; ${needs}${setAside === null ? '' : `; set aside as ${setAside}`}`;
}
