// What bundling puts in the place of modules that would cost every start of the command line more than they are worth to it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './setup.mjs';

/** In the place of `src/project/schema-check.ts` the code that Ajv makes of the schema, so that Ajv itself is not loaded. */
export const compiledSchema = {
  name: 'compiled-schema',
  setup({ onLoad }) {
    onLoad({ filter: /[/\\]src[/\\]project[/\\]schema-check\.ts$/ }, async () => {
      const [{ Ajv }, { default: toCode }] = await Promise.all([import('ajv'), import('ajv/dist/standalone/index.js')]);
      const schema = JSON.parse(readFileSync(join(ROOT, 'schema/wherry.schema.json'), 'utf8'));
      const ajv = new Ajv({
        allErrors: true,
        verbose: true,
        allowUnionTypes: true,
        meta: false,
        validateSchema: false,
        code: { source: true, esm: true },
      });
      const id = 'wherry.yaml';
      ajv.addSchema(schema, id);
      return { contents: toCode.default(ajv, { matchesSchema: id }), resolveDir: join(ROOT, 'src/project') };
    });
  },
};

/** In the place of undici the parts that speak HTTP, without fetch, caches, mocks and web sockets. */
export const undiciParts = {
  name: 'undici-parts',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^undici$/ }, () => ({ path: 'undici', namespace: 'undici-parts' }));
    onLoad({ filter: /.*/, namespace: 'undici-parts' }, () => ({
      contents: `
        import Agent from 'undici/lib/dispatcher/agent.js';
        import Dispatcher from 'undici/lib/dispatcher/dispatcher.js';
        import EnvHttpProxyAgent from 'undici/lib/dispatcher/env-http-proxy-agent.js';
        import request from 'undici/lib/api/api-request.js';
        Object.assign(Dispatcher.prototype, { request });
        export { Agent, EnvHttpProxyAgent };`,
      resolveDir: ROOT,
    }));
  },
};
