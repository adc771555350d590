import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answered, broken, dropped, guarded, inTurn, type Outcome } from './uploads.ts';

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
  const outcomes: Record<string, Outcome> = { b: { kind: 'failed', message: 'It is a link to nothing.' }, d: { kind: 'exists' }, e: { kind: 'cancelled' } };
  const chosen = [...'abcdef'].map((path) => ({ path, file: new File([path], path) }));
  const { paths, missing } = await inTurn(chosen, async ({ path }) => {
    if (path === 'c') throw new URIError('URI malformed');
    return { outcome: outcomes[path] ?? { kind: 'done' }, path: `/home/${path}` };
  }, new AbortController().signal);
  assert.deepEqual(paths, ['/home/a', '/home/f']);
  assert.deepEqual(missing.map(({ name, why }) => `${name}: ${why}`), [
    'b: It is a link to nothing.',
    'c: The browser could not read it.',
    'd: Its name is taken.',
    'e: It was stopped.',
  ]);
});

test('what fails all of them, and a stop, ends them, and the rest is not uploaded', async () => {
  const chosen = [...'abcd'].map((path) => ({ path, file: new File([path], path) }));
  const run = async (end: (stop: AbortController) => Outcome) => {
    const stop = new AbortController();
    const asked: string[] = [];
    const upload = async ({ path }: { path: string }): Promise<{ outcome: Outcome; path: string }> => {
      asked.push(path);
      return { outcome: path === 'b' ? end(stop) : { kind: 'done' }, path };
    };
    const { paths, missing } = await inTurn(chosen, upload, stop.signal);
    return { asked, paths, missing: missing.map(({ name, why }) => `${name}: ${why}`) };
  };
  assert.deepEqual(await run(() => ({ kind: 'failed', message: 'The disk is full.', all: true })), {
    asked: ['a', 'b'],
    paths: ['a'],
    missing: ['b: The disk is full.', 'c: The disk is full.', 'd: The disk is full.'],
  });
  const stopped = (stop: AbortController): Outcome => {
    stop.abort();
    return { kind: 'cancelled' };
  };
  assert.deepEqual(await run(stopped), { asked: ['a', 'b'], paths: ['a'], missing: ['b: It was stopped.', 'c: It was stopped.', 'd: It was stopped.'] });
});

test('an answer says whether it is of this file alone', () => {
  const refused = (code: string): string => JSON.stringify({ details: { code, message: 'Why.' } });
  assert.deepEqual(answered(201, '', false), { kind: 'done' });
  assert.deepEqual(answered(409, refused('changed'), false), { kind: 'exists' });
  const all: [number, string][] = [[507, refused('disk-full')], [409, refused('not-running')], [401, refused('signed-out')], [401, '']];
  const one: [number, string][] = [[409, refused('changed')], [403, refused('state-folder')], [500, 'not JSON'], [413, 'null']];
  for (const [every, cases] of [[true, all], [false, one]] as const) {
    for (const [status, text] of cases) {
      const outcome = answered(status, text, true);
      assert.equal(outcome.kind === 'failed' && outcome.all, every, `${status} ${text}`);
    }
  }
});

test('an upload that broke off for its file is of that file alone', async () => {
  assert.deepEqual(await broken(new Blob(['a'])), { kind: 'failed', message: 'The connection broke, or the server gave it up.', all: true });
  const gone = { slice: () => ({ arrayBuffer: () => Promise.reject(new Error('NotReadableError')) }) } as unknown as Blob;
  assert.deepEqual(await broken(gone), { kind: 'failed', message: 'The browser could not read it.', all: false });
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
