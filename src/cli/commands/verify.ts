import type { Command } from '../command.js';
import type { Verdict } from '../verify-image.js';

export const verify: Command = {
  name: 'verify',
  summary: 'build the source revision that an image records again, and say whether that gives the same image',
  args: '<image> [dir]',
  example: 'wherry verify hello-node:1.2.0 examples/hello-node',
  async run(context) {
    const { verifyImage } = await import('../verify-image.js');
    const [name = '', dir = '.'] = context.args;
    const verdict = await verifyImage(name, dir, context);
    context.output.result(verdict, format(verdict));
    return verdict.sameContent ? 0 : 1;
  },
};

function format({ image, digest, rebuilt, revision, sameDigest, sameContent, differences }: Verdict): string {
  const of = `of revision ${revision.slice(0, 12)}`;
  if (sameDigest) return `${image} is what was built ${of}: ${digest}`;
  if (sameContent) return `${image} has the content ${of}, compressed by another encoder: ${digest}, here ${rebuilt}`;
  return [`${image} is not what is built ${of}: ${digest}, here ${rebuilt}`, ...differences.map((line) => `  ${line}`)].join('\n');
}
