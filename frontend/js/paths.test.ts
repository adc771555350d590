import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { type Entry, encode, freeName, join, oneLine, order, parent, quoted, read, shown, written, wrongName } from './paths.ts';

test('an address is made of names, and read again', () => {
  assert.equal(join('/src', 'a b#?.ts'), '/src/a%20b%23%3F.ts');
  assert.equal(join('', 'x', '%FF%0A'), '/%FF%0A');
  assert.equal(parent('/src/a'), '/src');
  assert.equal(parent('/a'), '');
  assert.equal(parent(''), '');
  for (const name of ['grüße', 'a%b', 'two\nlines', '日本', "it's"]) {
    assert.equal(shown(`/x/${encode(name)}`), `x/${oneLine(name)}`);
  }
  assert.equal(shown('/%FF'), '\uFFFD');
  assert.equal(oneLine('a\u202Egpj.exe'), 'a\uFFFDgpj.exe');
});

test('what cannot be a name is refused with the reason', () => {
  for (const bad of ['', '.', '..', 'a/b', 'a\0b', 'é'.repeat(128)]) assert.ok(wrongName(bad), JSON.stringify(bad));
  for (const good of ['a', '...', ' ', '-rf', 'é'.repeat(127)]) assert.equal(wrongName(good), undefined, good);
});

test('folders come first, and numbers count', () => {
  const entry = (name: string, kind: Entry['kind'] = 'file'): Entry => ({ name, kind, size: 0, mode: '0644' });
  const sorted = order([entry('b10'), entry('b9'), entry('A'), entry('z', 'directory'), entry('a')]);
  assert.deepEqual(sorted.map(({ name }) => name), ['z', 'A', 'a', 'b9', 'b10']);
});

test('a name that is taken gets a number before its end', () => {
  assert.equal(freeName('a.txt', new Set(['b'])), 'a.txt');
  assert.equal(freeName('a.txt', new Set(['a.txt', 'a (2).txt'])), 'a (3).txt');
  assert.equal(freeName('.env', new Set(['.env'])), '.env (2)');
});

test('a path is one word to a real shell', () => {
  for (const path of ['/home/agent/a', "it's", 'a b', '$(reboot)', '`x`', '"', '\\', "''", 'a\nb', '*', '~', '-n', 'grüße']) {
    const out = execFileSync('/bin/sh', ['-c', `printf %s ${quoted(path)}`], { encoding: 'utf8' });
    assert.equal(out, path);
  }
});

test('text keeps how its lines end', () => {
  const of = (text: string) => read(new TextEncoder().encode(text));
  assert.deepEqual(of('a\nb'), { text: 'a\nb', ends: '\n' });
  assert.deepEqual(of('a\r\nb\r\n'), { text: 'a\r\nb\r\n', ends: '\r\n' });
  for (const mixed of ['a\r\nb\n', 'a\rb', 'a\r\r\n']) assert.deepEqual(of(mixed), { text: mixed, ends: 'mixed' });
  assert.equal(written('a\nb\n', '\r\n'), 'a\r\nb\r\n');
  assert.equal(written('a\r\nb', '\n'), 'a\nb');
  // A byte order mark is part of the file.
  assert.deepEqual(of('\uFEFFa'), { text: '\uFEFFa', ends: '\n' });
  assert.equal(read(new Uint8Array([0xff, 0xfe])), 'binary');
  assert.equal(read(new Uint8Array([65, 0, 66])), 'binary');
});
