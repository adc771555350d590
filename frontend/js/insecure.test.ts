import assert from 'node:assert/strict';
import { test } from 'node:test';
import { copy, randomId } from './insecure.ts';

test('an id is made without what secure contexts alone have', () => {
  Object.defineProperty(crypto, 'randomUUID', { value: undefined, configurable: true });
  const [one, other] = [randomId(), randomId()];
  assert.match(one, /^[0-9a-f]{32}$/);
  assert.notEqual(one, other);
});

test('what was not copied is known, also where there is no clipboard', async () => {
  const through = (clipboard: unknown) => Object.defineProperty(globalThis, 'navigator', { value: { clipboard }, configurable: true });
  let held = '';
  through({ writeText: async (text: string) => void (held = text) });
  assert.equal(await copy('boats'), true);
  assert.equal(held, 'boats');
  through({ writeText: () => Promise.reject(new Error('forbidden')) });
  assert.equal(await copy('boats'), false);
  through(undefined);
  assert.equal(await copy('boats'), false);
});
