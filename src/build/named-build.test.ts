import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { digestOf } from '../oci/digest.js';
import { openLayout } from '../oci/layout.js';
import { findNamedBuild, nameBuild } from './named-build.js';

const builtAs = (text: string) => ({ mediaType: 'application/vnd.oci.image.manifest.v1+json', digest: digestOf(text), size: text.length });

it("finds the last build of a project, by whatever path, and never that of another directory's project of the same name", async () => {
  const dir = mkdtempSync(join(tmpdir(), 'wherry-named-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const layout = await openLayout(join(dir, 'layout'));
  const x = { name: 'worker', dir: join(dir, 'x') };
  const y = { name: 'worker', dir: join(dir, 'y') };
  for (const project of [x, y]) mkdirSync(project.dir);
  symlinkSync('x', join(dir, 'link'));
  await expect(findNamedBuild(x, layout)).rejects.toMatchObject({
    code: 'IMAGE_UNKNOWN',
    message: expect.stringContaining('not built yet'),
  });
  await nameBuild(x, builtAs('one'), layout);
  expect(await findNamedBuild({ ...x, dir: join(dir, 'link') }, layout)).toBe(digestOf('one'));
  await nameBuild(y, builtAs('two'), layout);
  await expect(findNamedBuild(x, layout)).rejects.toMatchObject({
    code: 'IMAGE_UNKNOWN',
    message: expect.stringMatching(/last under its name.*y'$/),
  });
  expect(await findNamedBuild(y, layout)).toBe(digestOf('two'));
});
