import { expect, it } from 'vitest';
import { WherryError } from '../base/errors.js';
import { removeMade } from './foreign-endpoint.js';

const ENDPOINTS = [{ id: 'e1', name: 'wherry test run-1' }];

/** A server that refuses every deletion. */
function openStubborn() {
  const sent: string[] = [];
  const graphql = async (query: string) => {
    sent.push(query.split(/[ (]/)[1] ?? '');
    if (query.includes('delete')) throw new WherryError('REQUEST_INVALID', 'it is in use');
    return { myself: { endpoints: ENDPOINTS } };
  };
  return { graphql, sent };
}

it('gives up in its time what cannot be removed, and says by which name it is left', async () => {
  const { graphql } = openStubborn();
  expect(await removeMade(graphql, { mark: 'run-1', endpoint: { id: 'e1' }, templateName: 'wherry test run-1' }, 0)).toEqual([
    "endpoint 'e1' is left, remove it by hand: it is in use",
    "template 'wherry test run-1' is left, remove it by hand: it is in use",
  ]);
});

it('finds by its name an endpoint whose answer was lost', async () => {
  const { graphql, sent } = openStubborn();
  const left = await removeMade(graphql, { mark: 'run-1', endpoint: {}, isEndpointSent: true }, 0);
  expect(left).toEqual(["endpoint 'e1' is left, remove it by hand: it is in use"]);
  expect(await removeMade(graphql, { mark: 'run-1', endpoint: {} }, 0)).toEqual([]);
  expect(sent.slice(0, 3)).toEqual(['{', 'saveEndpoint', 'deleteEndpoint']);
});
