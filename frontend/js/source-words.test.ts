import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cloned, count, proposed, summary, type Status } from './source-words.ts';

const clean: Status = {
  url: 'https://github.com/a/b',
  folder: 'b',
  branch: 'main',
  upstream: 'origin/main',
  ahead: 0,
  behind: 0,
  fetchedAt: '2026-01-02T03:04:05Z',
  commit: { id: 'abc', subject: 'x' },
  changes: [],
  more: false,
  folders: [],
};

test('a repository is told in one line', () => {
  const told = (status: Partial<Status>) => summary({ ...clean, ...status }, (at) => `the time ${at}`);
  assert.equal(told({}), 'main · nothing changed');
  const changes: Status['changes'] = [{ path: 'a', kind: 'added' }];
  assert.equal(
    told({ ahead: 1, behind: 2, changes }),
    'main · 1 commit to push · 2 commits to pull as of the time 2026-01-02T03:04:05Z · 1 change',
  );
  assert.equal(told({ behind: 1, fetchedAt: null }), 'main · 1 commit to pull as of the last fetch · nothing changed');
  const unpushed = { branch: null, upstream: null, ahead: null, behind: null, fetchedAt: null };
  assert.equal(told({ ...unpushed, changes: [...changes, ...changes], more: true }), 'no branch · not pushed yet · 2+ changes');
  assert.equal(count(0, 'folder'), '0 folders');
});

test('a name is one that GitHub takes', () => {
  assert.equal(proposed('My app'), 'My-app');
  assert.equal(proposed('bücher.git'), 'b-cher');
});

test('what is cloned is told by owner, name and branch', () => {
  assert.equal(cloned('https://github.com/octocat/boats', ''), 'octocat/boats');
  assert.equal(cloned('https://github.com/octocat/boats.git/', 'feature/x'), 'octocat/boats · feature/x');
  assert.equal(cloned('half', ''), 'half');
  assert.equal(cloned('', 'feature/x'), '');
});
