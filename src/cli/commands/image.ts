import { WherryError } from '../../base/errors.js';
import type { Command, Context } from '../command.js';

export const image: Command = {
  name: 'image',
  summary:
    'say what is in an image (inspect), how two differ (diff), which tags a repository has (tags), or print the list of its software (sbom)',
  args: '<action> <image> [other]',
  options: [
    { flags: '--platform <platform>', text: 'of an image for several (default: linux/amd64)' },
    { flags: '--generate', text: 'sbom: make it from the image, also when one is attached' },
  ],
  example: 'wherry image inspect ./examples/hello-node',
  async run(context) {
    const [action = '', first = '', second] = context.args;
    if (action === 'inspect' && second === undefined) return inspect(context, first);
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
