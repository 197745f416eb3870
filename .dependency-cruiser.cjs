/** The import table: folder → what of src it may import. Everything else is forbidden. See ARCHITECTURE.md. */
const MAY_IMPORT = {
  base: [],
  oci: ['base'],
  domain: ['base', 'oci'],
  project: ['base', 'oci', 'domain'],
  api: ['base', 'oci', 'domain'],
  store: ['base', 'oci', 'domain'],
  runtime: ['base', 'oci', 'domain'],
  registry: ['base', 'oci'],
  build: ['base', 'oci', 'project'],
  image: ['base', 'oci'],
  models: ['base', 'oci', 'domain', 'registry/(auth|connections|parallel|refusal)\\.ts'],
  engine: ['base', 'oci', 'domain', 'store/store\\.ts', 'runtime/runtime\\.ts'],
  check: ['base', 'domain', 'project', 'api'],
  server: ['base', 'oci', 'domain', 'api', 'engine', 'registry'],
  cli: [
    'base',
    'oci',
    'domain',
    'project',
    'api',
    'build',
    'check',
    'registry',
    'image',
    'compose\\.ts',
    'compose-doctor\\.ts',
    'compose-registry\\.ts',
    'compose-settings\\.ts',
  ],
};

/** Third-party packages and the only folders that may name them. */
const PACKAGES = {
  '@balena/dockerignore': ['build'],
  '@cyclonedx/': ['image'],
  'dockerfile-ast': ['build'],
  picomatch: ['build'],
  'smol-toml': ['build'],
  '@fastify/': ['server'],
  fastify: ['server'],
  graphql: ['server/doors'],
  'graphql-http': ['server/doors'],
  typebox: ['api', 'server'],
  ajv: ['project', 'check'],
  commander: ['cli'],
  picocolors: ['cli'],
  esbuild: ['build'],
  '@photostructure/sqlite': ['store'],
  pino: ['compose\\.ts'],
  'prom-client': ['server'],
  re2js: ['server'],
  'tar-stream': ['oci'],
  undici: ['registry', 'models'],
  yaml: ['project', 'cli'],
};

/** The path of a package; one that ends with a slash stands for all of its scope. */
const pathOf = (name) => `node_modules/${name}${name.endsWith('/') ? '' : '(?:/|$)'}`;

const inside = (names) => names.map((name) => `^src/${name}${name.includes('.ts') ? '$' : '/'}`);

module.exports = {
  mayImport: MAY_IMPORT,
  forbidden: [
    { name: 'no-cycle', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    ...Object.entries(MAY_IMPORT).map(([folder, allowed]) => ({
      name: `${folder}-imports`,
      severity: 'error',
      from: { path: `^src/${folder}/`, pathNot: '\\.test\\.ts$' },
      to: { path: '^src/', pathNot: inside([folder, ...allowed]) },
    })),
    { name: 'main-imports', severity: 'error', from: { path: '^src/main\\.ts$' }, to: { path: '^src/', pathNot: inside(['cli', 'base']) } },
    ...Object.entries(PACKAGES).map(([name, folders]) => ({
      name: `package-${name.replace(/[@/]/g, '')}`,
      severity: 'error',
      from: { path: '^src/', pathNot: [...inside(folders), '\\.test\\.ts$'] },
      to: { path: pathOf(name) },
    })),
    {
      name: 'package-unlisted',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.test\\.ts$' },
      to: { path: 'node_modules/', pathNot: Object.keys(PACKAGES).map(pathOf) },
    },
    {
      name: 'api-in-browsers',
      severity: 'error',
      from: { path: '^src/api/', pathNot: '\\.test\\.ts$' },
      to: { dependencyTypes: ['core'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'require', 'node', 'default', 'types'] },
  },
};
