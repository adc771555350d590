import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dropped, guarded, inTurn, type Outcome } from './uploads.ts';

type Fake = { name: string; isFile: boolean; isDirectory: boolean };

/** An entry as a browser makes it of what is dropped; one that is not `readable` fails as where a file's rights forbid it. */
const file = (name: string, readable = true): Fake =>
  Object.assign(
    { name, isFile: true, isDirectory: false },
    { file: (found: (file: File) => void, failed: (error: Error) => void) => (readable ? found(new File([name], name)) : failed(new Error('NotReadableError'))) },
  );

const folder = (name: string, inside: Fake[], readable = true): Fake =>
  Object.assign(
    { name, isFile: false, isDirectory: true },
    {
      createReader: () => {
        const parts = [inside, []];
        return { readEntries: (found: (some: Fake[]) => void, failed: (error: Error) => void) => (readable ? found(parts.shift() ?? []) : failed(new Error('NotFoundError'))) };
      },
    },
  );

const transfer = (...entries: Fake[]): DataTransfer =>
  ({ items: entries.map((entry) => ({ kind: 'file', webkitGetAsEntry: () => entry })), files: [] }) as unknown as DataTransfer;

test('of a folder in which something cannot be read all else is found, and that is named', async () => {
  const inner = folder('inner', [file('b'), file('secret', false), file('c')]);
  const { chosen, missing } = await dropped(transfer(folder('photos', [file('a'), inner, folder('locked', [], false)]), file('d')));
  assert.deepEqual(chosen.map(({ path }) => path), ['photos/a', 'photos/inner/b', 'photos/inner/c', 'd']);
  assert.deepEqual(missing.map(({ name }) => name), ['photos/inner/secret', 'photos/locked']);
});

test('one of many that is not uploaded stops none of the others', async () => {
  const outcomes: Record<string, Outcome> = { b: { kind: 'failed', message: 'The disk is full.' }, d: { kind: 'exists' }, e: { kind: 'cancelled' } };
  const chosen = [...'abcdef'].map((path) => ({ path, file: new File([path], path) }));
  const { paths, missing } = await inTurn(chosen, async ({ path }) => {
    if (path === 'c') throw new URIError('URI malformed');
    return { outcome: outcomes[path] ?? { kind: 'done' }, path: `/home/${path}` };
  });
  assert.deepEqual(paths, ['/home/a', '/home/f']);
  assert.deepEqual(missing.map(({ name, why }) => `${name}: ${why}`), [
    'b: The disk is full.',
    'c: The browser could not read it.',
    'd: Its name is taken.',
    'e: It was stopped.',
  ]);
});

test('the page is not left without a question until the last upload is over', async () => {
  const page = new EventTarget();
  const { addEventListener, removeEventListener } = globalThis;
  Object.assign(globalThis, {
    addEventListener: page.addEventListener.bind(page),
    removeEventListener: page.removeEventListener.bind(page),
  });
  try {
    const asks = (): boolean => !page.dispatchEvent(new Event('beforeunload', { cancelable: true }));
    let end = (): void => undefined;
    let fail = (_: Error): void => undefined;
    assert.equal(asks(), false);
    const one = guarded(new Promise<void>((resolve) => (end = resolve)));
    const other = guarded(new Promise<void>((_, reject) => (fail = reject)));
    assert.equal(asks(), true);
    end();
    await one;
    assert.equal(asks(), true);
    fail(new Error('broken'));
    await assert.rejects(other);
    assert.equal(asks(), false);
  } finally {
    Object.assign(globalThis, { addEventListener, removeEventListener });
  }
});
