import { type Call, type Door, USER_ID } from './context.js';
import { viewEndpoint } from './endpoints.js';
import { viewRegistryAuth } from './registry-auth.js';
import { viewTemplate } from './templates.js';

/** `myself`: all that this server has, under the names of an account. Nothing here costs money. */
export function createUserOperations(door: Door) {
  return {
    myself: (_args: unknown, call: Call) => ({
      id: USER_ID,
      pubKey: null,
      email: null,
      clientBalance: 0,
      currentSpendPerHr: 0,
      spendLimit: 0,
      notifyPodsStale: false,
      notifyPodsGeneral: false,
      notifyLowBalance: false,
      serverlessDiscount: null,
      endpoints: async () => (await call.listEndpoints()).map((bound) => viewEndpoint(door, bound, call)),
      podTemplates: async () => (await door.templates.list()).map((template) => viewTemplate(door, template, call)),
      containerRegistryCreds: async () => (await door.namedCredentials.list()).map(viewRegistryAuth),
      networkVolumes: [],
      pods: [],
    }),
  };
}
