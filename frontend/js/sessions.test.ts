import assert from 'node:assert/strict';
import { test } from 'node:test';
import { running } from './sessions.ts';

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
