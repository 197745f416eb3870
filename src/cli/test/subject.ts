import { messageOf, WherryError } from '../../base/errors.js';
import { silentLog } from '../../base/log.js';
import type { ImageUnderTest } from '../../check/test-endpoint.js';
import { openRemoteRegistry } from '../../compose-registry.js';
import { formatRelease, type ReleaseName } from '../../domain/release.js';
import { formatReference, parseReference } from '../../oci/reference.js';
import { readProject } from '../../project/read.js';
import type { Context } from '../command.js';
import { buildPhase, pushPhase, settingsOf, specOf } from '../motion.js';
import { createPhases } from '../phases.js';
import type { TestServer } from './server.js';

/** What is tested: a project, an image, a release on an endpoint of the tests, or an endpoint that exists. */
export type Subject =
  | { readonly kind: 'project'; readonly dir: string }
  | { readonly kind: 'image'; readonly reference: string; readonly runtime: 'process' | 'docker' | undefined }
  | { readonly kind: 'release'; readonly release: ReleaseName }
  | { readonly kind: 'endpoint'; readonly endpointId: string };

/** The subject as tests need it. */
export interface TestedImage extends Omit<ImageUnderTest, 'origin'> {
  /** As reports call it. */
  readonly name: string;
  /** Of an image, or the name of a release; empty for an endpoint. */
  readonly reference: string;
  /** Of the image; null when only the server knows it. */
  readonly digest: string | null;
  readonly endpointId: string | undefined;
}

interface Place {
  readonly context: Context;
  readonly server: TestServer;
}

const NONE = { reference: '', digest: null, endpointId: undefined, spec: {}, settings: {} };

/** Builds and pushes a project; an image and an endpoint are there. Throws USAGE and what building and pushing throw. */
export async function prepareSubject(subject: Subject, place: Place): Promise<TestedImage> {
  if (subject.kind === 'endpoint') return { ...NONE, name: subject.endpointId, endpointId: subject.endpointId };
  if (subject.kind === 'release') return prepareRelease(subject.release, place);
  if (subject.kind === 'project') return prepareProject(subject.dir, place);
  const { reference, runtime } = subject;
  const pinned = place.server.kind === 'foreign' ? await pinReference(reference, place.context) : { reference, digest: null };
  return { ...NONE, ...pinned, name: reference, settings: runtime === undefined ? {} : { runtime } };
}

/** The image and the settings of a release, for an endpoint that is not its own. Throws RELEASE_UNKNOWN. */
async function prepareRelease({ endpointId, number }: ReleaseName, { server: { client } }: Place): Promise<TestedImage> {
  const name = `${endpointId}@${formatRelease(number)}`;
  const [{ settings }, [found]] = await Promise.all([
    client.getEndpoint(endpointId),
    client.listReleases(endpointId, { before: number + 1, limit: 1 }),
  ]);
  if (found?.number !== number)
    throw new WherryError('RELEASE_UNKNOWN', `'${endpointId}' has no release ${number}`, {
      hint: `see \`wherry releases -e ${endpointId}\``,
    });
  return { ...NONE, name, reference: name, digest: found.image.digest, spec: found.spec, settings };
}

async function prepareProject(dir: string, { context, server }: Place): Promise<TestedImage> {
  if (server.kind === 'foreign')
    throw new WherryError('USAGE', `a project cannot be tested on ${server.url}: it has no registry to push to`, {
      hint: 'push the project with `wherry push --to REGISTRY/NAME:TAG`, then name that with --image',
    });
  const { output, environment, signal } = context;
  const { dataDir } = await context.settings();
  const project = await readProject(dir);
  const motion = { phases: createPhases(output), output, place: { dataDir, environment, signal } };
  const built = await buildPhase(project, motion);
  const { reference } = await pushPhase(built, { to: undefined, embedded: { url: server.url, key: server.key }, motion });
  return { ...NONE, name: project.name, reference, digest: built.digest, spec: specOf(project), settings: settingsOf(project) };
}

/** Asks the registry what a tag means now, so that all groups run the same bytes. The image may be one that only the server can open. */
async function pinReference(text: string, { environment, output, signal }: Context): Promise<Pick<TestedImage, 'reference' | 'digest'>> {
  const { registry = 'docker.io', repository, tag = 'latest', digest } = parseReference(text);
  if (digest !== undefined) return { reference: text, digest };
  const client = await openRemoteRegistry(registry, environment, { log: silentLog, signal });
  try {
    const path = registry === 'docker.io' && !repository.includes('/') ? `library/${repository}` : repository;
    const found = await client.getDigest(path, tag);
    return { reference: formatReference({ ...parseReference(text), digest: found }), digest: found };
  } catch (thrown) {
    signal.throwIfAborted();
    output.warn(`what '${text}' means now cannot be asked, so the tag is what runs: ${messageOf(thrown)}`);
    return { reference: text, digest: null };
  } finally {
    await client.close();
  }
}
