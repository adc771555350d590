import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Entry } from './paths.ts';
import { listed, step, Tree, typed, type Node } from './tree.ts';

const entry = (name: string, kind: Entry['kind'] = 'file'): Entry => ({ name, kind, size: 1, mode: '0644' });

function tree(): Tree {
  const made = new Tree();
  made.fill(made.root, [entry('src', 'directory'), entry('docs', 'directory'), entry('a.txt')]);
  const src = made.find('/src') as Node;
  made.fill(src, [entry('main.rs'), entry('inner', 'directory')]);
  src.open = true;
  return made;
}

const names = (rows: readonly Node[]): string[] => rows.map(({ name }) => name);

test('rows are what can be seen, folders first', () => {
  const made = tree();
  assert.deepEqual(names(made.rows()), ['docs', 'src', 'inner', 'main.rs', 'a.txt']);
  assert.equal(made.find('/src/main.rs')?.level, 2);
  assert.equal(made.find('/src/none'), undefined);
  assert.equal(made.above(made.find('/src/main.rs') as Node).address, '/src');
  assert.equal(made.above(made.find('/a.txt') as Node), made.root);
});

test('what was open stays open when a folder is read again', () => {
  const made = tree();
  made.fill(made.root, [entry('src', 'directory'), entry('new.txt')]);
  assert.deepEqual(names(made.rows()), ['src', 'inner', 'main.rs', 'new.txt']);
  // A file of the same name is another thing.
  made.fill(made.root, [entry('src')]);
  assert.deepEqual(names(made.rows()), ['src']);
  assert.equal(made.find('/src')?.children, undefined);
});

test('keys lead as in every tree', () => {
  const made = tree();
  const rows = made.rows();
  const at = (address: string): Node => made.find(address) as Node;
  const leads = (address: string, key: string): string | boolean | undefined => {
    const done = step(rows, at(address), key);
    return done?.toggle ?? done?.to?.name;
  };
  assert.equal(leads('/docs', 'ArrowDown'), 'src');
  assert.equal(leads('/docs', 'ArrowUp'), undefined);
  assert.equal(leads('/docs', 'ArrowRight'), true);
  assert.equal(leads('/src', 'ArrowRight'), 'inner');
  assert.equal(leads('/src', 'ArrowLeft'), true);
  assert.equal(leads('/src/main.rs', 'ArrowLeft'), 'src');
  assert.equal(leads('/a.txt', 'ArrowLeft'), undefined);
  assert.equal(leads('/a.txt', 'ArrowRight'), undefined);
  assert.equal(leads('/docs', 'End'), 'a.txt');
  assert.equal(leads('/a.txt', 'Home'), 'docs');
  assert.equal(step(rows, at('/docs'), 'x'), undefined);
});

test('letters lead to a name, around the end', () => {
  const made = tree();
  const rows = made.rows();
  assert.equal(typed(rows, made.find('/src') as Node, 'd')?.name, 'docs');
  assert.equal(typed(rows, made.find('/docs') as Node, 'ma')?.name, 'main.rs');
  assert.equal(typed(rows, made.find('/docs') as Node, 'do')?.name, 'docs');
  assert.equal(typed(rows, made.find('/docs') as Node, 'zz'), undefined);
});

test('an answer that breaks off, or is no list, is none', async () => {
  assert.deepEqual(await listed(new Response('{"entries":[]}')), []);
  for (const broken of ['{"entries":[', '', '<html>', 'null', '{}', '{"entries":{}}']) assert.equal(await listed(new Response(broken)), undefined, broken);
});
