import assert from 'node:assert/strict';
import { test } from 'node:test';
import { label } from './share-words.ts';

test('a port that is shared says with whom and until when', () => {
  const when = (at: string) => `<${at}>`;
  assert.equal(label(undefined, when), 'Share preview');
  assert.equal(label({ port: 3000, audience: 'link', expiresAt: '2026-12-01' }, when), 'Shared by link until <2026-12-01>');
  assert.equal(label({ port: 3000, audience: 'users' }, when), 'Shared with users');
  assert.equal(label({ port: 3000, audience: 'users', expiresAt: '2026-12-01' }, when), 'Shared with users until <2026-12-01>');
});
