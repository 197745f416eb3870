import { realpath } from 'node:fs/promises';
import { WherryError } from '../base/errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Layout } from '../oci/layout.js';
import type { Project } from '../project/read.js';

type Named = Pick<Project, 'name' | 'dir'>;

/** Of the name of a build in this machine's layout; no image knows of it. */
const DIRECTORY = 'dev.wherry.directory';

/** Keeps what was built as the last build of the project: under its name, with its directory, for several projects may have one name. */
export async function nameBuild({ name, dir }: Named, built: Descriptor, layout: Layout): Promise<void> {
  await layout.putRef(name, { ...built, annotations: { ...built.annotations, [DIRECTORY]: await realpath(dir) } });
}

/** The last build of the project. Throws IMAGE_UNKNOWN when there is none, or when another directory's project of the same name was built since. */
export async function findNamedBuild({ name, dir }: Named, layout: Layout): Promise<Digest> {
  const built = await layout.getRef(name);
  const builtIn = built?.annotations?.[DIRECTORY];
  if (built && builtIn === (await realpath(dir))) return built.digest;
  const why = builtIn === undefined ? 'was not built yet' : `is not what was built last under its name: that is '${builtIn}'`;
  throw new WherryError('IMAGE_UNKNOWN', `project '${name}' in '${dir}' ${why}`, { hint: `\`wherry build ${dir}\` builds it` });
}
