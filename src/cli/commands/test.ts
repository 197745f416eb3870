import { WherryError } from '../../base/errors.js';
import { parseDuration } from '../../project/units.js';
import { type Command, type Context, textOf, textsOf } from '../command.js';
import type { TestRequest } from '../test/run.js';

export const test: Command = {
  name: 'test',
  summary: 'send test requests to a project, an image or an endpoint, and compare what comes back',
  args: '[dir]',
  options: [
    { flags: '--image <reference>', text: 'test this image instead of building a project' },
    { flags: '-e, --endpoint <id>', text: 'test an endpoint that exists, as it is' },
    {
      flags: '-f, --file <path>',
      text: "test file (default: 'tests' of wherry.yaml, .github/tests.json, .runpod/tests.json, test_input.json)",
    },
    { flags: '--request-timeout <seconds>', text: 'longest time for a request, cold start included (default 300)' },
    { flags: '--budget <duration>', text: 'longest time for all tests (default 30m)' },
    { flags: '--parallel <n>', text: 'how many run at a time (default: as many as the endpoint may have workers)' },
    { flags: '--runtime <runtime>', text: 'process or docker, for --image (default: the first that can run it)' },
    { flags: '--strict', text: 'tests that name an endpoint or a template, and so do not test the image, are an error' },
    { flags: '--registry-auth <id>', text: "what opens the registry of --image, on a server with RunPod's APIs only" },
    { flags: '--graphql-url <url>', text: "GraphQL of a server with RunPod's APIs only (default: /graphql of --api-url)" },
    { flags: '--report <format=file>', text: 'also write a report: junit=FILE, json=FILE or md=FILE', isRepeated: true },
    {
      flags: '--baseline <release>',
      text: 'also run an earlier release, rN or ENDPOINT@rN, and fail when this is worse: outputs, execution, wait for a worker, size',
    },
    {
      flags: '--allow <what=part>',
      text: 'by how much it may be worse: latency=0.25, coldStart=0.25, size=0.1 (parts of what the baseline has), output=0 (a number)',
      isRepeated: true,
    },
    { flags: '--watch', text: 'run again at each change of a file' },
  ],
  example: 'wherry test examples/hello-node',
  async run(context) {
    const { options, output } = context;
    const [{ runTests }, { formatRun }, { writeReports }] = await Promise.all([
      import('../test/run.js'),
      import('../test/output.js'),
      import('../test/reports.js'),
    ]);
    const dir = context.args[0] ?? '.';
    const request = await readRequest(context, dir);
    const baseline = await baselineOf(context, request);
    const runOnce = async (): Promise<number> => {
      const report = await (baseline ? baseline() : runTests(context, request));
      await writeReports(report, request.reports);
      output.result(report, formatRun(report));
      if (context.signal.aborted) return 130;
      return report.failed === 0 ? 0 : 1;
    };
    if (options['watch'] !== true) return runOnce();
    const { repeatOnChange } = await import('../test/watch.js');
    return repeatOnChange(context, { dir, file: request.file }, runOnce);
  },
};

/** What the options ask for, with the tests of a directory. Throws USAGE, CONFIG_INVALID. */
export async function readRequest(context: Context, dir: string): Promise<TestRequest> {
  const { options, environment } = context;
  const { parseReport } = await import('../test/reports.js');
  const subject = subjectOf(context, dir);
  return {
    dir,
    subject,
    file: textOf(options, 'file'),
    requestTimeoutMs: readNumber(options['requestTimeout'], '--request-timeout', 300) * 1000,
    budgetMs: parseDuration(textOf(options, 'budget') ?? '30m'),
    parallel: options['parallel'] === undefined ? undefined : readNumber(options['parallel'], '--parallel', 1),
    isRemote:
      subject.kind === 'endpoint' ||
      options['baseline'] !== undefined ||
      textOf(options, 'apiUrl') !== undefined ||
      environment['WHERRY_API_URL'] !== undefined,
    registryAuth: textOf(options, 'registryAuth'),
    isStrict: options['strict'] === true,
    reports: textsOf(options, 'report').map(parseReport),
  };
}

/** Runs tests beside an earlier release, when one was named. Throws USAGE. */
async function baselineOf(context: Context, request: TestRequest) {
  const named = textOf(context.options, 'baseline');
  if (named === undefined) return undefined;
  const { readBaseline, runWithBaseline } = await import('../test/baseline.js');
  const baseline = await readBaseline(named, textsOf(context.options, 'allow'), request);
  return () => runWithBaseline(context, request, baseline);
}

function subjectOf({ options }: Context, dir: string) {
  const image = textOf(options, 'image');
  const endpointId = textOf(options, 'endpoint');
  const runtime = textOf(options, 'runtime');
  if (image !== undefined && endpointId !== undefined)
    throw new WherryError('USAGE', 'an image and an endpoint cannot both be tested', { hint: 'give --image or --endpoint' });
  if (endpointId !== undefined) return { kind: 'endpoint', endpointId } as const;
  if (runtime !== undefined && runtime !== 'process' && runtime !== 'docker')
    throw new WherryError('USAGE', `--runtime '${runtime}' is no runtime`, { hint: 'use process or docker' });
  return image === undefined ? ({ kind: 'project', dir } as const) : ({ kind: 'image', reference: image, runtime } as const);
}

function readNumber(value: unknown, flag: string, other: number): number {
  if (value === undefined) return other;
  const found = Number(value);
  if (Number.isFinite(found) && found >= 1) return found;
  throw new WherryError('USAGE', `${flag} '${String(value)}' is not a number`, { hint: 'use a number from 1 on' });
}
