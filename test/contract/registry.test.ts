import { describeRegistry } from './registry.js';
import { openRegistryServer } from './registry-server.js';

describeRegistry('embedded', openRegistryServer);
