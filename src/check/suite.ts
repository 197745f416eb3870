import type { Place } from '../project/document.js';

/** The kinds of test files: the action's `.github/tests.json`, the hub's `.runpod/tests.json`, and wherry's own. */
export const FORMS = ['action', 'hub', 'wherry'] as const;
export type Form = (typeof FORMS)[number];

/** A test file after reading: what to send, and what has to come back. */
export interface Suite {
  /** As messages show it. */
  readonly file: string;
  readonly form: Form;
  readonly tests: readonly Test[];
  /** Sentences for the author: what was read differently from what is written, or not at all. */
  readonly notes: readonly string[];
}

export interface Test {
  readonly name: string;
  readonly place: Place;
  readonly input: unknown;
  /** Of the request, cold start included; undefined for the run's own. */
  readonly timeoutMs: number | undefined;
  /** All have to hold. Without any, a job that completes is enough. */
  readonly expect: readonly Expectation[];
  readonly settings: TestSettings;
}

/** What has to hold of a test's job. Compared values may lie below `at`, a JSON pointer (RFC 6901). */
export type Expectation =
  | { readonly kind: 'equals' | 'subset'; readonly at: string; readonly value: unknown; readonly tolerance: number }
  | { readonly kind: 'contains'; readonly at: string; readonly value: unknown }
  | { readonly kind: 'regex'; readonly at: string; readonly pattern: string }
  | { readonly kind: 'schema'; readonly at: string; readonly schema: object }
  /** The job fails, and its error matches. */
  | { readonly kind: 'error'; readonly pattern: string }
  /** All chunks of its stream, in order. */
  | { readonly kind: 'stream'; readonly value: readonly unknown[]; readonly tolerance: number }
  /** Longest execution, and longest start of a worker for it. */
  | { readonly kind: 'latency' | 'coldStart'; readonly limitMs: number }
  /** Largest output as JSON. */
  | { readonly kind: 'size'; readonly limitBytes: number }
  /** A program of the project's directory that reads the output from its standard input and exits with 0. */
  | { readonly kind: 'command'; readonly command: string };

/** What the endpoint of a test has to be, in the words of the test file (`hardwareConfig`). Tests with equal settings share one. */
export interface TestSettings {
  /** An endpoint that exists, which is used as it is. */
  readonly endpointId?: string;
  /** A template of the server's, instead of the image under test. */
  readonly templateId?: string;
  /** RunPod's `EndpointInput`, in part. */
  readonly endpointConfig: Readonly<Record<string, unknown>>;
  /** RunPod's `SaveTemplateInput`, in part. */
  readonly templateConfig: Readonly<Record<string, unknown>>;
}

/** Settings of a test that says nothing. */
export const NO_SETTINGS: TestSettings = { endpointConfig: {}, templateConfig: {} };

/** Tests that run on one endpoint. */
export interface TestGroup {
  readonly settings: TestSettings;
  readonly tests: readonly Test[];
}

/** Groups in the order in which the file begins them. */
export function groupTests(tests: readonly Test[]): readonly TestGroup[] {
  const groups = new Map<string, { settings: TestSettings; tests: Test[] }>();
  for (const test of tests) {
    const key = JSON.stringify(test.settings);
    const group = groups.get(key) ?? { settings: test.settings, tests: [] };
    group.tests.push(test);
    groups.set(key, group);
  }
  return [...groups.values()];
}
