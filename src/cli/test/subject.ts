import type { SettingsChange } from '../../api/client.js';
import type { ReleaseSpec } from '../../domain/release.js';
import { readProject } from '../../project/read.js';
import type { Context } from '../command.js';
import { buildPhase, pushPhase, settingsOf, specOf } from '../motion.js';
import { createPhases } from '../phases.js';
import type { TestServer } from './server.js';

/** What is tested: a project, an image, or an endpoint that exists. */
export type Subject =
  | { readonly kind: 'project'; readonly dir: string }
  | { readonly kind: 'image'; readonly reference: string; readonly runtime: 'process' | 'docker' | undefined }
  | { readonly kind: 'endpoint'; readonly endpointId: string };

/** The subject as tests need it. */
export interface TestedImage {
  /** As reports call it. */
  readonly name: string;
  /** Pinned by digest; empty for an endpoint. */
  readonly reference: string;
  /** Of the image; null when only the endpoint knows it. */
  readonly digest: string | null;
  readonly endpointId: string | undefined;
  readonly spec: Partial<ReleaseSpec>;
  readonly settings: SettingsChange;
}

/** Builds and pushes a project; an image and an endpoint are there. Throws what building and pushing throw. */
export async function prepareSubject(
  subject: Subject,
  { context, server }: { readonly context: Context; readonly server: TestServer },
): Promise<TestedImage> {
  const none = { reference: '', digest: null, endpointId: undefined, spec: {}, settings: {} };
  if (subject.kind === 'endpoint') return { ...none, name: subject.endpointId, endpointId: subject.endpointId };
  if (subject.kind === 'image') {
    const { reference, runtime } = subject;
    return { ...none, name: reference, reference, settings: runtime === undefined ? {} : { runtime } };
  }
  const { output, environment } = context;
  const { dataDir } = await context.settings();
  const project = await readProject(subject.dir);
  const motion = { phases: createPhases(output), output, place: { dataDir, environment } };
  const built = await buildPhase(project, motion);
  const embedded = { url: server.url, key: server.key };
  const { reference } = await pushPhase(built, { to: undefined, embedded, motion });
  return { ...none, name: project.name, reference, digest: built.digest, spec: specOf(project), settings: settingsOf(project) };
}
