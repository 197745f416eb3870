import { WherryError } from '../../base/errors.js';
import type { Command, Context } from '../command.js';
import { formatAgo, formatBytes, formatTable } from '../output.js';

export const image: Command = {
  name: 'image',
  summary:
    'say what is in an image (inspect), how two differ (diff), which tags a repository has (tags), or print the list of its software (sbom)',
  args: '<action> <image> [other]',
  options: [
    { flags: '--platform <platform>', text: 'of an image for several (default: linux/amd64)' },
    { flags: '--generate', text: 'sbom: make it from the image, also when one is attached' },
    { flags: '--attach', text: 'sbom: make it from the image and attach it in its registry as a referrer' },
  ],
  example: 'wherry image inspect ./examples/hello-node',
  async run(context) {
    const [action = '', first = '', second] = context.args;
    if (action === 'diff' && second !== undefined) return diff(context, first, second);
    if (second === undefined) {
      if (action === 'inspect') return inspect(context, first);
      if (action === 'tags') return tags(context, first);
      if (action === 'sbom') return sbom(context, first);
    }
    throw new WherryError('USAGE', `'${context.args.join(' ')}' is not something to do with images`, {
      hint: 'use inspect IMAGE, diff IMAGE OTHER, tags REPOSITORY or sbom IMAGE; an image is a reference, ENDPOINT@rN, ./DIRECTORY or a digest',
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

async function diff(context: Context, before: string, after: string): Promise<number> {
  const [{ diffImages }, { formatDiff }, { openRead }] = await Promise.all([
    import('../../image/diff.js'),
    import('../image-diff-text.js'),
    import('../image-contents.js'),
  ]);
  const found = diffImages(await openRead(context, before, true), await openRead(context, after, true));
  context.output.result({ before, after, ...found }, formatDiff(found));
  return 0;
}

async function tags(context: Context, name: string): Promise<number> {
  const [{ parseReference }, { openRepository }, { readTags }, { openClock }] = await Promise.all([
    import('../../oci/reference.js'),
    import('../image-source.js'),
    import('../image-tags.js'),
    import('../../base/clock.js'),
  ]);
  const { registry, repository, tag, digest } = parseReference(name);
  if (tag !== undefined || digest !== undefined)
    throw new WherryError('USAGE', `'${name}' names one image, not a repository`, { hint: 'leave the tag and the digest out' });
  const opened = await openRepository({ repository, ...(registry !== undefined && { registry }) }, context);
  try {
    const found = await readTags(opened);
    const now = openClock().now();
    const rows = found.map((each) => [
      each.tag,
      each.digest,
      each.sizeBytes === null ? '' : formatBytes(each.sizeBytes),
      each.created === null ? '' : formatAgo(each.created, now),
    ]);
    context.output.result({ repository: name, tags: found }, formatTable(['tag', 'digest', 'size', 'created'], rows));
    return 0;
  } finally {
    await opened.client.close();
  }
}

/** Always the document itself: `--json` changes nothing about it. */
async function sbom(context: Context, name: string): Promise<number> {
  const [{ attachSbom, findSbom }, { makeSbom }, { openAsked, readTold }] = await Promise.all([
    import('../image-sbom.js'),
    import('../../image/sbom.js'),
    import('../image-contents.js'),
  ]);
  const { generate, attach } = context.options;
  const named = await openAsked(context, name);
  try {
    const attached = generate === true || attach === true ? undefined : await findSbom(named);
    const text = attached ?? (await makeSbom(named.source, await readTold(context, named), context.version));
    if (attach === true) await attachSbom(named, text);
    context.output.result(JSON.parse(text), text.trimEnd());
    return 0;
  } finally {
    await named.close();
  }
}
