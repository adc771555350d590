import assert from 'node:assert/strict';
import { test } from 'node:test';
import { label, lasting, type SharedPort } from './share-words.ts';

test('a port that is shared says with whom and until when', () => {
  const when = (at: string) => `<${at}>`;
  assert.equal(label(undefined, when), 'Share preview');
  assert.equal(label({ port: 3000, audience: 'link', expiresAt: '2026-12-01' }, when), 'Shared by link until <2026-12-01>');
  assert.equal(label({ port: 3000, audience: 'users' }, when), 'Shared with users');
  assert.equal(label({ port: 3000, audience: 'users', expiresAt: '2026-12-01' }, when), 'Shared with users until <2026-12-01>');
});

test('a share is over when its time is, and the next end is waited for, a day at a time', () => {
  const now = Date.parse('2026-12-01T12:00:00Z');
  const share = (port: number, expiresAt?: string): SharedPort => ({ port, audience: 'link', expiresAt });
  const [over, soon, late, never] = [share(1, '2026-12-01T12:00:00Z'), share(2, '2026-12-01T12:00:05Z'), share(3, '2026-12-31T12:00:00Z'), share(4)];
  assert.deepEqual(lasting([over, late, soon, never], now), { shares: [late, soon, never], again: 5_000 });
  assert.deepEqual(lasting([late], now), { shares: [late], again: 86_400_000 });
  assert.deepEqual(lasting([over, never], now), { shares: [never], again: undefined });
  assert.deepEqual(lasting([], now), { shares: [], again: undefined });
});
