import assert from 'node:assert/strict';
import { test } from 'node:test';
import { removalOf, restOf, type Sandbox, titleOf, verbsOf } from './sandbox-words.ts';

const extra: Sandbox = { id: '1', main: false, branch: 'feature/x', deleting: false, database: true, sandbox: { phase: 'Running', desired: 'running' } };
const main: Sandbox = { ...extra, main: true, branch: null };

test('an extra sandbox is called after its branch', () => {
  assert.deepEqual([main, extra].map(titleOf), ['Main sandbox', 'feature/x']);
});

test('what can be asked goes by what was asked for, and the main one is not removed', () => {
  const meant = (one: Sandbox, desired: Sandbox['sandbox']['desired']) => verbsOf({ ...one, sandbox: { ...one.sandbox, desired } });
  assert.deepEqual(meant(extra, 'running'), ['Stop', 'Restart', 'Terminate', 'Remove']);
  assert.deepEqual(meant(extra, 'stopped'), ['Start', 'Terminate', 'Remove']);
  assert.deepEqual(meant(main, 'terminated'), ['Start']);
  assert.deepEqual(verbsOf({ ...extra, deleting: true }), []);
});

test('before one is removed, it is said what goes, and the safe answer is first', () => {
  const { heading, text, answers } = removalOf(extra);
  assert.equal(heading, 'Remove the sandbox feature/x?');
  assert.match(text, /^Its files and its database go with it\./);
  assert.match(removalOf({ ...extra, database: false }).text, /^Its files go with it\./);
  assert.deepEqual(answers.map(({ value }) => value), ['', 'remove']);
});

test('what waits for a sandbox says its phase, and offers the start where one can be asked for', () => {
  assert.deepEqual(restOf('stopped'), { heading: 'The sandbox is stopped', start: true });
  assert.deepEqual(['stopped', 'terminated', 'error', 'starting', 'stopping', 'terminating'].map((phase) => restOf(phase).start), [true, true, true, false, false, false]);
  // It was found not running, and runs by now: its agent is about to answer.
  assert.equal(restOf('running').heading, 'The sandbox is starting');
});
