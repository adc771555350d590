import assert from 'node:assert/strict';
import { test } from 'node:test';
import { atWork, running } from './sessions.ts';

test('tabs are the sessions whose shell runs, oldest first', () => {
  const listed = [
    { name: 'shell-3', startedAt: 30 },
    { name: 'ended', startedAt: 5, exited: 0 },
    { name: 'main', startedAt: 10, exited: null },
    { name: 'shell-2', startedAt: 20 },
  ];
  assert.deepEqual(running(listed), ['main', 'shell-2', 'shell-3']);
  assert.deepEqual(running([]), []);
});

test('what a stop would end is named, and an idle shell is nothing to ask about', () => {
  const named = (...names: string[]) => names.map((name, at) => ({ name, startedAt: at, busy: true }));
  assert.equal(atWork([]), undefined);
  assert.equal(atWork([{ name: 'main', busy: false }, { name: 'shell-2' }]), undefined);
  assert.equal(atWork([{ name: 'ended', busy: true, exited: 0 }]), undefined);
  assert.equal(atWork([...named('main'), { name: 'shell-2', busy: false }]), 'A program runs in the terminal “main”. It would end; files stay.');
  assert.equal(atWork(named('main', 'shell-2')), 'Programs run in the terminals “main” and “shell-2”. They would end; files stay.');
  assert.match(atWork(named('a', 'b', 'c', 'd', 'e')) ?? '', /“a”, “b”, “c” and 2 more\./);
});
