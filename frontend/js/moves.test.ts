import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fit, folderAt, folders, followed, nameIn, within, wrongFolder } from './moves.ts';
import type { Entry } from './paths.ts';
import { Tree, type Node } from './tree.ts';

test('a folder goes neither into itself nor where it is', () => {
  assert.equal(fit('/src', '/src'), 'itself');
  assert.equal(fit('/src', '/src/inner/deep'), 'itself');
  assert.equal(fit('/src', '/src2'), 'fits', 'a name that only begins as the folder’s does');
  assert.equal(fit('/src', ''), 'there');
  assert.equal(fit('/src/a', '/src'), 'there');
  assert.equal(fit('/src/a', ''), 'fits');
  assert.equal(fit('/a', '/src'), 'fits');
});

test('what moves keeps its name as it is encoded, and takes along what is in it', () => {
  assert.equal(nameIn('/a%20b/%FF%0A'), '%FF%0A');
  assert.equal(within('/docs', '/src/%FF'), '/docs/%FF');
  assert.equal(within('', '/src/a'), '/a');
  assert.equal(followed('/src/a.rs', '/src', '/lib/src'), '/lib/src/a.rs');
  assert.equal(followed('/src', '/src', '/lib'), '/lib');
  assert.equal(followed('/src2', '/src', '/lib'), undefined);
  assert.equal(followed(undefined, '/src', '/lib'), undefined);
});

test('a folder is typed as a path from the home folder', () => {
  const tree = new Tree();
  const folder = (name: string, raw?: string): Entry => ({ name, kind: 'directory', size: 0, mode: '0755', ...(raw ? { raw } : {}) });
  tree.fill(tree.root, [folder('a b'), folder('\uFFFD', '%FF'), { ...folder('file'), kind: 'file' }]);
  tree.fill(tree.find('/a%20b') as Node, [folder('inner')]);
  const known = folders(tree.root);
  assert.deepEqual([...known.keys()].sort(), ['', 'a b', 'a b/inner', '\uFFFD']);
  for (const home of ['', '/', '~', '~/', '.']) assert.equal(folderAt(home, known), '', JSON.stringify(home));
  for (const inner of ['a b/inner', '/a b//inner/', '~/a b/./inner']) assert.equal(folderAt(inner, known), '/a%20b/inner', inner);
  assert.equal(folderAt('\uFFFD', known), '/%FF', 'a name that no text can hold');
  assert.equal(folderAt('new/ü', known), '/new/%C3%BC');
  assert.equal(folderAt('~x', known), '/~x', 'a name that begins so');
});

test('what leads out of the home folder is no folder', () => {
  assert.match(wrongFolder('a/../..') ?? '', /`\.\.` is not followed/);
  assert.ok(wrongFolder('a/b\0'));
  for (const good of ['', '~', 'a/b', '...', 'a/..b']) assert.equal(wrongFolder(good), undefined, good);
});
