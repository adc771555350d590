import assert from 'node:assert/strict';
import { test } from 'node:test';
import { place } from './drop.ts';

test('files go where the shell is, if that is in the home folder', () => {
  const home = '/home/agent';
  assert.deepEqual(place('/home/agent', home), { address: '', folder: home });
  assert.deepEqual(place('/home/agent/a b/c', home), { address: '/a%20b/c', folder: '/home/agent/a b/c' });
  const uploads = { address: '/uploads', folder: '/home/agent/uploads' };
  for (const elsewhere of ['/tmp', '/', '/home/agentsmith', null, undefined, '', '/home/agent/\uFFFD']) {
    assert.deepEqual(place(elsewhere, home), uploads, String(elsewhere));
  }
});
