import { WherryError } from '../../base/errors.js';
import { type Command, type Context, textOf } from '../command.js';

export const image: Command = {
  name: 'image',
  summary:
    'what is in an image (inspect), how two differ (diff), the tags of a repository (tags), the list of its software (sbom); an image is REFERENCE, ENDPOINT@rN, ./DIRECTORY of a project or the digest of a build',
  args: '<action> <image> [other]',
  options: [
    { flags: '--platform <platform>', text: 'which image of an index (default: linux/amd64)' },
    { flags: '--generate', text: 'sbom: make it from the layers, also when one is attached' },
  ],
  example: 'wherry image inspect ./examples/hello-node',
  async run(context) {
    const [action, first = '', second] = context.args;
    if (action === 'diff' && second !== undefined) return diff(context, first, second);
    if (action === 'inspect' && second === undefined) return inspect(context, first);
    if (action === 'tags' && second === undefined) return listTags(context, first);
    if (action === 'sbom' && second === undefined) return printSbom(context, first);
    throw new WherryError('USAGE', `'${context.args.join(' ')}' is not something to do with images`, {
      hint: 'use inspect IMAGE, diff IMAGE OTHER, tags REPOSITORY or sbom IMAGE',
    });
  },
};

async function inspect(context: Context, name: string): Promise<number> {
  const [{ summarizeImage }, { formatSummary }, { openRead }] = await Promise.all([
    import('../../image/summary.js'),
    import('../image-text.js'),
    import('../image-contents.js'),
  ]);
  const { source, contents } = await openRead(context, name);
  const summary = summarizeImage(source, contents);
  context.output.result({ reference: name, ...summary }, formatSummary(name, summary));
  return 0;
}

async function diff(context: Context, first: string, second: string): Promise<number> {
  const [{ compareImages }, { formatDifference }, { openRead }, { formatTests, readTests }] = await Promise.all([
    import('../../image/difference.js'),
    import('../image-difference-text.js'),
    import('../image-contents.js'),
    import('../release-tests.js'),
  ]);
  const isCompared = true;
  const [before, after] = [await openRead(context, first, { isCompared }), await openRead(context, second, { isCompared })];
  const difference = compareImages(before, after);
  const digests = { first: before.source.descriptor.digest, second: after.source.descriptor.digest };
  const tests = await readTests(() => context.client(), [first, second]);
  const text = [formatDifference(difference), tests ? formatTests(tests) : ''].filter((part) => part !== '').join('\n\n');
  context.output.result({ ...digests, ...difference, ...(tests && { tests }) }, text);
  return 0;
}

async function listTags(context: Context, name: string): Promise<number> {
  const [{ formatTags, readTags }, { openRepository }, { parseReference }, { parsePlatform }] = await Promise.all([
    import('../image-tags.js'),
    import('../image-source.js'),
    import('../../oci/reference.js'),
    import('../../oci/platform.js'),
  ]);
  const reference = parseReference(name);
  if (reference.tag !== undefined || reference.digest !== undefined) {
    throw new WherryError('USAGE', `cannot list the tags of '${name}': it names one image`, { hint: 'leave the tag and the digest out' });
  }
  const platform = textOf(context.options, 'platform');
  const repository = await openRepository(reference, context);
  try {
    const items = await readTags(repository, platform === undefined ? undefined : parsePlatform(platform));
    context.output.result({ items }, formatTags(items));
    return 0;
  } finally {
    await repository.client.close();
  }
}

async function printSbom(context: Context, name: string): Promise<number> {
  const [{ findSbom }, { makeSbom }, { openAsked, readTold }] = await Promise.all([
    import('../image-sbom.js'),
    import('../../image/sbom.js'),
    import('../image-contents.js'),
  ]);
  const named = await openAsked(context, name);
  try {
    const { source } = named;
    const repository = context.options['generate'] === true ? undefined : named.repository;
    const attached = repository && (await findSbom(repository, source.descriptor.digest));
    if (repository && !attached) context.output.talk('  none is attached; this one is made from the layers');
    const sbom = attached ?? JSON.parse(makeSbom(source, await readTold(context, named), context.version));
    context.output.result(sbom, JSON.stringify(sbom, null, 2));
    return 0;
  } finally {
    await named.close();
  }
}
