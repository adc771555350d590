import assert from 'node:assert/strict';
import { test } from 'node:test';
import { begin, Drafts, MOST_CHARACTERS } from './drafts.ts';

/** A tab's storage with room for so many characters. */
function storage(room = 5_000_000): Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> & { items: Map<string, string> } {
  const items = new Map<string, string>();
  return {
    items,
    getItem: (name) => items.get(name) ?? null,
    setItem: (name, value) => {
      if (value.length > room) throw new Error('QuotaExceededError');
      items.set(name, value);
    },
    removeItem: (name) => void items.delete(name),
  };
}

test('a draft is given back once, as it was kept last', () => {
  const tab = storage();
  const drafts = new Drafts(() => tab);
  assert.equal(drafts.keep('/a', { version: '"1"', text: 'first' }), true);
  assert.equal(drafts.keep('/b', { version: null, text: 'other' }), true);
  assert.equal(drafts.keep('/a', { version: '"2"', text: 'last\n' }), true);
  assert.deepEqual(drafts.take('/a'), { version: '"2"', text: 'last\n' });
  assert.equal(drafts.take('/a'), undefined);
  assert.deepEqual(drafts.take('/b'), { version: null, text: 'other' });
  assert.equal(tab.items.size, 0, 'nothing is left');
});

test('what was kept first goes first where there is no more room, and what is too long is said not to be kept', () => {
  const tab = storage();
  const drafts = new Drafts(() => tab);
  const long = (share: number) => ({ version: null, text: 'x'.repeat(MOST_CHARACTERS * share) });
  for (const path of ['/a', '/b', '/c']) assert.equal(drafts.keep(path, long(0.4)), true);
  assert.equal(drafts.take('/a'), undefined);
  assert.equal(drafts.keep('/b', long(1.1)), false);
  assert.equal(drafts.take('/b'), undefined, 'one that is over is not given back');
  assert.notEqual(drafts.take('/c'), undefined, 'and others stay');
});

test('a browser with less room keeps the newest, and one without any says so', () => {
  const tab = storage(200);
  const small = new Drafts(() => tab);
  for (const path of ['/a', '/b']) assert.equal(small.keep(path, { version: null, text: 'x'.repeat(100) }), true);
  assert.equal(small.take('/a'), undefined);
  assert.equal(small.take('/b')?.text.length, 100);
  const none = new Drafts(() => {
    throw new Error('SecurityError');
  });
  assert.equal(none.keep('/a', { version: null, text: 'x' }), false);
  assert.equal(none.take('/a'), undefined);
});

test('what is saved after its page was left is kept no more, and what was typed after that is kept over it', () => {
  const tab = storage();
  const drafts = new Drafts(() => tab);
  drafts.keep('/a', { version: '"1"', text: 'typed' });
  drafts.keep('/b', { version: null, text: 'other' });
  const more = { version: '"2"', text: 'typed, and more' };
  assert.equal(drafts.saved('/a', more), false);
  assert.deepEqual(drafts.take('/a'), more);
  assert.equal(drafts.saved('/a', more), false);
  assert.equal(drafts.take('/a'), undefined, 'what was opened again meanwhile is not kept beside that');
  assert.equal(drafts.saved('/b', undefined), true);
  assert.equal(drafts.saved('/b', undefined), true);
  assert.equal(tab.items.size, 0);
});

test('all are forgotten, and what is no list of drafts is none', () => {
  const tab = storage();
  const drafts = new Drafts(() => tab);
  drafts.keep('/a', { version: null, text: 'x' });
  drafts.forget();
  assert.equal(tab.items.size, 0);
  for (const other of ['{', 'null', '{}']) {
    tab.items.set('fsa.drafts', other);
    assert.equal(drafts.take('/a'), undefined, other);
  }
});

test('a sign-out takes the drafts once its answer is good, and one that is refused takes none', async () => {
  let answer: Response | undefined;
  let forgotten = 0;
  const page = {
    fetch: async (_: RequestInfo | URL): Promise<Response> => {
      if (!answer) throw new TypeError('Failed to fetch');
      return answer;
    },
  };
  begin(page, { forget: () => void (forgotten += 1) });
  const ask = async (address: string | URL | Request, status: number): Promise<number> => {
    forgotten = 0;
    answer = new Response(null, { status });
    assert.equal(await page.fetch(address), answer, 'the answer is passed on');
    return forgotten;
  };
  const whole = 'https://agent.example/api/sign-out';
  for (const address of ['/api/sign-out', whole, new URL(whole), new Request(whole, { method: 'POST' })]) {
    assert.equal(await ask(address, 204), 1, String(address));
    assert.equal(await ask(address, 401), 1, 'a session that is no more');
    assert.equal(await ask(address, 503), 0, 'refused');
  }
  for (const other of ['/api/me', '/api/sign-out-of-it', '/api/me?next=/api/sign-out']) assert.equal(await ask(other, 204), 0, other);
  answer = undefined;
  forgotten = 0;
  await assert.rejects(page.fetch('/api/sign-out'), TypeError);
  assert.equal(forgotten, 0, 'nobody answered');
});
