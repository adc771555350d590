import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as after } from 'node:timers/promises';
import { part } from './load.ts';

const CODE = readFileSync(join(import.meta.dirname, '../../app/src/load.js'), 'utf8');

type Load = (address: string, use?: (part: string) => unknown, open?: (at: string) => Promise<string>) => Promise<unknown>;
type Lasting = (missing: string, place: string, go: () => Promise<unknown>) => () => Promise<unknown>;
interface Page {
  fsaLoad: Load;
  fsaLasting: Lasting;
}

/** Lets everything happen that waits for nothing. */
const settled = () => after(5);

class Note {
  className = '';
  dataset: Record<string, string> = {};
  children: (Note | string)[] = [];
  textContent = '';
  type = '';
  onclick: (() => void) | undefined;
  shown = true;
  attributes: Record<string, string> = {};
  setAttribute(name: string, value: string): void {
    this.attributes[name] = value;
  }
  append(...children: (Note | string)[]): void {
    this.children.push(...children);
  }
  prepend(...children: (Note | string)[]): void {
    this.children.unshift(...children);
  }
  remove(): void {
    this.shown = false;
  }
  contains(): boolean {
    return false;
  }
  querySelector(): Note | undefined {
    return this.children.find((child): child is Note => child instanceof Note && child.type === 'button');
  }
  get words(): string {
    return this.textContent + this.children.map((child) => (typeof child === 'string' ? child : child.words)).join('');
  }
}

/** The script in a page of its own: what waits, until it is said that the time has passed, or that the network is back. */
function page({ status = 200 } = {}) {
  const window = {} as Page;
  const waits = new Map<number, { ms: number; over: () => void }>();
  const listeners = new Set<() => void>();
  const body = new Note();
  const asked: string[] = [];
  let ids = 0;
  let reloads = 0;
  const names = {
    window,
    document: { createElement: () => new Note(), body, querySelector: () => body, getElementById: () => null, activeElement: null },
    fetch: async (address: string, { method }: { method: string }) => {
      asked.push(`${method} ${address}`);
      return { status };
    },
    addEventListener: (_: string, listener: () => void) => listeners.add(listener),
    removeEventListener: (_: string, listener: () => void) => listeners.delete(listener),
    setTimeout: (over: () => void, ms: number) => (waits.set(++ids, { ms, over }), ids),
    clearTimeout: (id: number) => waits.delete(id),
    location: { reload: () => (reloads += 1) },
    console: { error: () => undefined },
  };
  new Function(...Object.keys(names), CODE)(...Object.values(names));
  return {
    ...window,
    asked,
    listeners,
    notes: () => body.children.filter((child): child is Note => child instanceof Note && child.shown),
    reloads: () => reloads,
    online: async () => {
      for (const listener of [...listeners]) listener();
      await settled();
    },
    /** Passes what is waited for, and says how long that was. */
    pass: async () => {
      await settled();
      const [[id, { ms, over }]] = [...waits] as [[number, { ms: number; over: () => void }]];
      waits.delete(id);
      over();
      await settled();
      return ms;
    },
  };
}

/** Fails so many times; then what it is, by the address that it was asked for at last. */
function failing(times: number) {
  const at: string[] = [];
  const open = async (address: string): Promise<string> => {
    at.push(address);
    if (at.length <= times) throw new TypeError('Failed to fetch');
    return `part of ${address}`;
  };
  return { at, open };
}

test('a part that failed is asked for under names that never failed, and is used once', async () => {
  const { fsaLoad, pass, listeners } = page();
  const { at, open } = failing(2);
  const used: string[] = [];
  const use = (part: string) => (used.push(part), part);
  const [one, other] = [fsaLoad('/pkg/a.1.js', use, open), fsaLoad('/pkg/a.1.js', use, open)];
  assert.deepEqual([await pass(), await pass()], [500, 1_500]);
  assert.equal(await one, 'part of /pkg/again-2/a.1.js');
  assert.equal(await other, await one);
  assert.deepEqual(at, ['/pkg/a.1.js', '/pkg/again-1/a.1.js', '/pkg/again-2/a.1.js']);
  assert.equal(used.length, 1);
  assert.equal(listeners.size, 0, 'nothing is listened for any more');
});

test('what a part loads itself has its folder once', async () => {
  const { fsaLoad, pass } = page();
  const { at, open } = failing(1);
  const loaded = fsaLoad('/pkg/again-7/chunk-1.js', undefined, open);
  await pass();
  await loaded;
  assert.deepEqual(at, ['/pkg/again-7/chunk-1.js', '/pkg/again-1/chunk-1.js']);
});

test('a network that is back is tried at once', async () => {
  const { fsaLoad, online } = page();
  const { at, open } = failing(1);
  const loaded = fsaLoad('/pkg/a.1.js', undefined, open);
  await settled();
  assert.equal(at.length, 1);
  await online();
  assert.equal(await loaded, 'part of /pkg/again-1/a.1.js');
});

test('tries have an end, and say whether the server has it at all', async () => {
  for (const [status, gone] of [
    [200, false],
    [404, true],
    [502, false],
  ] as const) {
    const { fsaLoad, pass, asked } = page({ status });
    const { at, open } = failing(100);
    const loaded = fsaLoad('/pkg/a.1.js', undefined, open);
    const failed = assert.rejects(loaded, (error: { gone?: boolean; message: string }) => error.gone === gone && /a\.1\.js: Failed to fetch/.test(error.message));
    assert.deepEqual([await pass(), await pass(), await pass()], [500, 1_500, 4_000]);
    await failed;
    assert.equal(at.length, 4);
    assert.deepEqual(asked, ['HEAD /pkg/a.1.js']);
    // Asked for anew, it is loaded anew.
    void fsaLoad('/pkg/a.1.js', undefined, open).catch(() => undefined);
    assert.equal(at.at(-1), '/pkg/again-4/a.1.js');
  }
});

test('what a page cannot do without says so, and comes when it is asked for or the network is back', async () => {
  const { fsaLasting, notes, online, reloads } = page();
  let broken = true;
  let tries = 0;
  const load = fsaLasting('The terminal could not be loaded.', 'body', async () => {
    tries += 1;
    if (broken) throw new Error('away');
    return 'terminal';
  });
  const loaded = load();
  await settled();
  const [note] = notes();
  assert.match(note?.words ?? '', /^The terminal could not be loaded\. /);
  const button = note?.querySelector();
  assert.equal(button?.textContent, 'Try again');
  button?.onclick?.();
  await settled();
  assert.equal(tries, 2);
  assert.equal(notes().length, 1, 'it is said once');
  // Another one who wants it is a try as well.
  void load();
  await settled();
  assert.equal(tries, 3);
  broken = false;
  await online();
  assert.equal(await loaded, 'terminal');
  assert.equal(await load(), 'terminal');
  assert.deepEqual([tries, notes().length, reloads()], [4, 0, 0]);
});

test('a page of an older version is to be loaded anew', async () => {
  const { fsaLasting, notes, reloads } = page();
  void fsaLasting('The terminal could not be loaded.', 'body', () => Promise.reject(Object.assign(new Error('gone'), { gone: true })))();
  await settled();
  const [note] = notes();
  assert.match(note?.words ?? '', /of an older version/);
  const button = note?.querySelector();
  assert.equal(button?.textContent, 'Reload');
  button?.onclick?.();
  assert.equal(reloads(), 1);
});

test('a part goes by the name that its import has, and by itself where there is none', async () => {
  const asked: string[] = [];
  const fsaLoad = async (address: string) => (asked.push(address), 'by the page');
  Object.defineProperty(globalThis, 'window', { value: { fsaLoad }, configurable: true });
  const bundled = new Function('return ()=>import("./terminal-palette-ABC.js")')() as () => Promise<unknown>;
  assert.equal(await part(bundled), 'by the page');
  assert.match(asked[0] ?? '', /^\/.*\/terminal-palette-ABC\.js$/);
  assert.equal(await part(async () => 'by itself'), 'by itself');
  assert.equal(asked.length, 1);
});
