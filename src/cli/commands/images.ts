import type { ApiClient } from '../../api/client.js';
import type { ReleaseView } from '../../api/resources.js';
import { WherryError } from '../../base/errors.js';
import { type BuiltImage, measureBuilt } from '../../build/built-image.js';
import { parseReleaseName } from '../../domain/release.js';
import { formatPlatform } from '../../oci/platform.js';
import { isFloating, parseReference } from '../../oci/reference.js';
import type { Project } from '../../project/read.js';
import { type Command, type Context, type Option, textOf, textsOf } from '../command.js';
import { formatSize } from '../output.js';
import type { BuildOptions } from '../project-image.js';
import { readShare } from '../release-text.js';
import type { SbomPhase } from '../sbom-phase.js';

async function openMotion({ output, environment, settings, signal }: Context) {
  const [{ createPhases }, { readProject }, motion] = await Promise.all([
    import('../phases.js'),
    import('../../project/read.js'),
    import('../motion.js'),
  ]);
  const { dataDir } = await settings();
  return { ...motion, readProject, motion: { phases: createPhases(output), output, place: { dataDir, environment, signal } } };
}

const STRICT = 'an image above budget.imageSize, and what the linter warns of, are errors';
const STRICT_OPTION: Option = { flags: '--strict', text: STRICT };
const FORCE_OPTION: Option = { flags: '--force', text: 'move a tag that is a version, such as 1.2.3, to another image' };

const BUILD_OPTIONS: readonly Option[] = [
  { flags: '--update-base', text: 'ask the registry again what the name of the base means, and write it to wherry.lock' },
  {
    flags: '--engine <name>',
    text: 'docker, podman or buildah; builds the Dockerfile (default: the first that answers, when one is needed)',
  },
  { flags: '--build-arg <name=value>', text: 'value of an ARG of the Dockerfile', isRepeated: true },
  { flags: '--secret <id=name,src=file>', text: 'secret for RUN --mount=type=secret; never in a layer', isRepeated: true },
  { flags: '--verify', text: 'read and pack everything again, whatever is remembered of earlier builds' },
];

const SBOM_OPTIONS: readonly Option[] = [
  { flags: '--sbom', text: 'fail when the list of the software in the image cannot be attached to it (default: warn)' },
  { flags: '--no-sbom', text: 'attach no such list' },
];

/** Does `work` while the lists of the software are made; it attaches them when the image is in its repository. */
async function withSboms<T>(
  context: Context,
  { built, ...phase }: SbomPhase & { readonly built: BuiltImage },
  work: (attachSboms: () => Promise<void>) => Promise<T>,
): Promise<T> {
  if (context.options['sbom'] === false) return work(async () => {});
  // Loaded while the push waits for its registry.
  const sboms = import('../sbom-phase.js').then(({ startSboms }) => startSboms(context, built, phase));
  // A push of its own says what is wrong with its target.
  sboms.catch(() => {});
  try {
    return await work(async () => (await sboms).attach());
  } finally {
    await sboms.then(
      (started) => started.close(),
      () => {},
    );
  }
}

function buildOptions({ options }: Context): BuildOptions {
  return {
    isBaseUpdate: options['updateBase'] === true,
    isFresh: options['verify'] === true,
    isStrict: options['strict'] === true,
    engine: textOf(options, 'engine'),
    buildArgs: textsOf(options, 'buildArg'),
    secrets: textsOf(options, 'secret'),
  };
}

export const build: Command = {
  name: 'build',
  summary: 'build the image of a project; only a Dockerfile that runs something needs a container engine',
  args: '[dir]',
  options: [
    { flags: '--output <dir>', text: 'also write the whole image, base included, as an OCI image layout for other tools' },
    STRICT_OPTION,
    ...BUILD_OPTIONS,
  ],
  example: 'wherry build examples/hello-node',
  async run(context) {
    const { motion, readProject, buildPhase, outputPhase } = await openMotion(context);
    const project = await readProject(context.args[0] ?? '.');
    const output = textOf(context.options, 'output');
    if (output !== undefined) await (await import('../../build/output-place.js')).checkOutputPlace(project, output);
    const built = await buildPhase(project, motion, buildOptions(context));
    if (output !== undefined) await outputPhase(built, output, motion);
    const { describeBuilt, formatBuilt } = await import('../build-text.js');
    context.output.result(
      { ...describeBuilt(built), warnings: built.warnings, chosen: project.chosen, phases: motion.phases.done },
      formatBuilt(built),
    );
    return 0;
  },
};

export const push: Command = {
  name: 'push',
  summary: 'build a project and push its image',
  args: '[dir]',
  options: [
    { flags: '--to <reference>', text: 'registry, repository and tag (default: the embedded registry, by name and revision)' },
    ...SBOM_OPTIONS,
    FORCE_OPTION,
    STRICT_OPTION,
    ...BUILD_OPTIONS,
  ],
  example: 'wherry push examples/hello-node',
  async run(context) {
    const { motion, readProject, buildPhase, pushPhase } = await openMotion(context);
    const built = await buildPhase(await readProject(context.args[0] ?? '.'), motion, buildOptions(context));
    const isForced = context.options['force'] === true;
    const to = textOf(context.options, 'to');
    const embedded = await embeddedOf(context);
    const pushed = await withSboms(context, { built, to, motion }, async (attachSboms) => {
      const done = await pushPhase(built, { to, embedded, isForced, motion });
      await attachSboms();
      return done;
    });
    const { uploaded, skipped } = pushed.result;
    context.output.result(
      {
        digest: built.digest,
        reference: pushed.reference,
        tags: pushed.tags,
        size: measureBuilt(built),
        platforms: built.images.map(({ platform, descriptor }) => ({ platform: formatPlatform(platform), digest: descriptor.digest })),
        uploaded,
        skipped,
        phases: motion.phases.done,
      },
      pushed.reference,
    );
    return 0;
  },
};

export const deploy: Command = {
  name: 'deploy',
  summary: 'build, push and release a project; or release an image, also that of another release',
  args: '[dir]',
  options: [
    {
      flags: '--image <reference>',
      text: 'release this image instead of building a project; ENDPOINT@rN is the image of that release, by its digest, whatever its tag means now',
    },
    { flags: '-e, --endpoint <id>', text: 'endpoint (default: the project name)' },
    { flags: '--to <reference>', text: 'push to this registry, repository and tag' },
    { flags: '--canary <percent>', text: 'give it this share of new jobs (1 to 99) until `wherry promote` or `wherry abort`' },
    { flags: '--hold', text: 'leave its candidate waiting until `wherry promote`, 15 minutes at most' },
    { flags: '--test', text: "let the candidate pass the project's tests first, and keep their report with the release" },
    { flags: '--no-test', text: "do not send the project's test_input.json to the candidate first" },
    ...SBOM_OPTIONS,
    FORCE_OPTION,
    { flags: '--strict', text: `${STRICT}; for --image, a tag that is missing or latest` },
    ...BUILD_OPTIONS,
  ],
  example: 'wherry deploy examples/hello-node',
  async run(context) {
    const canary = readShare(textOf(context.options, 'canary'));
    const [{ motion, readProject, buildPhase, pushPhase }, { describeRollOut, rollOut }] = await Promise.all([
      openMotion(context),
      import('../roll-out.js'),
    ]);
    const image = textOf(context.options, 'image');
    const client = await context.client();
    const project = image === undefined ? await readProject(context.args[0] ?? '.') : undefined;
    if (image !== undefined && context.options['strict'] === true) refuseMovingTag(image);
    const endpointId = textOf(context.options, 'endpoint') ?? project?.name ?? nameOf(image ?? '');
    const gate = project && (await openGate(project, { client, context }));
    const to = textOf(context.options, 'to');
    const hold = context.options['hold'] === true;
    const { signal } = context;
    const release = (reference: string, sourceRevision: string | null) =>
      rollOut(client, { endpointId, reference, project, sourceRevision, canary, hold, gate, signal }, motion);
    const releaseProject = async (source: Project) => {
      const built = await buildPhase(source, motion, buildOptions(context));
      const embedded = await embeddedOf(context);
      return withSboms(context, { built, to, motion }, async (attachSboms) => {
        const { reference } = await pushPhase(built, { to, embedded, isForced: context.options['force'] === true, motion });
        const rolledOut = await release(reference, built.revision);
        // The release does not wait for it.
        if (rolledOut.rollout?.state !== 'REVERTED') await attachSboms();
        return rolledOut;
      });
    };
    const result = project ? await releaseProject(project) : await release(image ?? '', null);
    const isFailed = result.rollout?.state === 'REVERTED';
    if (isFailed) context.output.warn(describeRollOut(result).join('; '));
    else for (const line of describeRollOut(result)) context.output.talk(`  ${line}`);
    const { apiUrl } = await context.settings();
    const url = `${apiUrl}/v2/${endpointId}`;
    const percent = isFailed ? '' : await describePercent(client, result.release);
    if (!isFailed) context.output.talk(`  try        wherry run -e ${endpointId} -i name=Ada      undo  wherry rollback -e ${endpointId}`);
    context.output.result(
      { digest: result.release.image.digest, ...result, url, phases: motion.phases.done },
      isFailed
        ? ''
        : `${endpointId} r${result.release.number}  ${result.release.image.digest}${percent}\n${formatSize(result.size)}\n${url}`,
    );
    return isFailed ? 1 : 0;
  },
};

/** A name that does not say what runs; without --strict the server warns. Throws REFERENCE_INVALID. */
function refuseMovingTag(image: string): void {
  if (parseReleaseName(image) !== undefined) return;
  const named = parseReference(image);
  if (!isFloating(named)) return;
  throw new WherryError(
    'REFERENCE_INVALID',
    `'${image}' ${named.tag === undefined ? 'has no tag' : "has the tag 'latest'"}, and warnings are errors`,
    {
      hint: 'name a version tag or the digest, so that the reference says what runs',
    },
  );
}

/** What the candidate of a project has to pass: its tests when asked for, else its test input. Nothing can be tried where no worker may run. Throws USAGE. */
async function openGate({ dir, scale }: Project, { client, context }: { readonly client: ApiClient; readonly context: Context }) {
  const wish = context.options['test'];
  if (wish === true && scale.max === 0)
    throw new WherryError('USAGE', 'no candidate can be tested: scale.max is 0', { hint: 'raise it, or leave --test out' });
  if (wish === false || scale.max === 0) return undefined;
  const [{ inputGate, createSuiteGate }, { findTestInput }] = await Promise.all([import('../gate.js'), import('../test-input.js')]);
  const { output, environment, signal } = context;
  const { apiUrl = '' } = await context.settings();
  if (wish === true) return createSuiteGate({ client, dir, server: apiUrl, output, environment, signal });
  const input = await findTestInput(dir);
  return input && inputGate(client, input);
}

/** How much of the endpoint runs the release, while others are left. */
async function describePercent(client: ApiClient, { endpointId, number }: ReleaseView): Promise<string> {
  const [newest] = await client.listRollouts(endpointId, { limit: 1 });
  if (newest?.to !== number || newest.percentOnLatest === null || newest.percentOnLatest === 100) return '';
  return `  (${newest.percentOnLatest} % of the workers)`;
}

/** The last part of an image's repository is a fair endpoint id; a release is promoted to another endpoint than its own. Throws USAGE. */
function nameOf(reference: string): string {
  if (parseReleaseName(reference) !== undefined) {
    throw new WherryError('USAGE', `no endpoint was named for the image of '${reference}'`, { hint: 'add -e ENDPOINT' });
  }
  return (reference.split('@')[0] ?? '').split('/').at(-1)?.split(':')[0] ?? '';
}

async function embeddedOf({ settings }: Context) {
  const { apiUrl, apiKey } = await settings();
  return apiUrl && apiKey ? { url: apiUrl, key: apiKey } : undefined;
}
