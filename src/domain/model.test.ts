import { expect, test } from 'vitest';
import { folderOf, formatModel, parseModel } from './model.js';

const COMMIT = '0123456789abcdef0123456789abcdef01234567';

test.each([
  ['acme/tiny', { repository: 'acme/tiny', revision: 'main', commit: null }],
  ['tiny', { repository: 'tiny', revision: 'main', commit: null }],
  ['acme/tiny@refs/pr/1', { repository: 'acme/tiny', revision: 'refs/pr/1', commit: null }],
  [`acme/tiny@${COMMIT}`, { repository: 'acme/tiny', revision: COMMIT, commit: COMMIT }],
  [`acme/tiny@v1@${COMMIT}`, { repository: 'acme/tiny', revision: 'v1', commit: COMMIT }],
])('reads %s (row 88)', (text, model) => {
  expect(parseModel(text)).toEqual(model);
  expect(parseModel(formatModel(model))).toEqual(model);
});

test.each([
  '',
  '/tiny',
  'a/b/c',
  'acme/../x',
  'acme--x/tiny',
  '.hidden/x',
  'acme/tiny@',
  'acme/tiny@../x',
  'acme/tiny@main@short',
  'https://x/y',
])('refuses %j as a model (row 88)', (text) => {
  expect(() => parseModel(text)).toThrow(/is not a model/);
});

test('names the folder as huggingface_hub does (row 88)', () => {
  expect(['acme/tiny', 'tiny'].map((repository) => folderOf({ repository }))).toEqual(['models--acme--tiny', 'models--tiny']);
});
