import assert from 'node:assert/strict';
import { test } from 'node:test';
import { day, iconOf, newsOf, spansOf, type Activity } from './activity-words.ts';

const item = (kind: Activity['kind'], data: Record<string, unknown>): Activity => ({
  id: 1,
  at: '2026-11-23T12:00:00Z',
  lastAt: '2026-11-23T12:00:00Z',
  times: 1,
  kind,
  actor: { name: 'Owner', via: 'browser' },
  title: '',
  detail: null,
  data,
});

test('every day has its heading', () => {
  const now = new Date(2026, 10, 23, 0, 5);
  assert.equal(day(new Date(2026, 10, 23, 0, 1), now), 'Today, 23 November');
  assert.equal(day(new Date(2026, 10, 22, 23, 59), now), 'Yesterday, 22 November');
  assert.equal(day(new Date(2026, 10, 21, 23, 59), now), '21 November');
  assert.equal(day(new Date(2025, 11, 31), now), '31 December 2025');
});

test('what failed looks it', () => {
  assert.deepEqual(iconOf(item('phase', { to: 'Error' })), { name: 'phase-error', tone: 'bad' });
  assert.deepEqual(iconOf(item('phase', { to: 'Running' })), { name: 'phase-running', tone: 'good' });
  assert.deepEqual(iconOf(item('phase', { event: 'erased' })), { name: 'phase-terminated' });
  assert.deepEqual(iconOf(item('run', { event: 'ended' })), { name: 'error', tone: 'bad' });
  assert.deepEqual(iconOf(item('run', { event: 'adopted' })), { name: 'server' });
  assert.deepEqual(iconOf(item('ask', { verb: 'restart' })), { name: 'reload' });
  assert.deepEqual(iconOf(item('ask', { verb: 'later' })), { name: 'user' });
  assert.deepEqual(iconOf(item('ask', { verb: 'share', port: 3000 })), { name: 'share' });
  assert.deepEqual(iconOf(item('account', { event: 'sign-in' })), { name: 'user' });
  assert.deepEqual(iconOf(item('account', { event: 'github-connected' })), { name: 'github' });
  assert.deepEqual(iconOf(item('account', { event: 'github-revoked' })), { name: 'github', tone: 'warn' });
});

test('no time span is longer than what is kept, and all of that can be chosen', () => {
  const days = (kept: number) => spansOf(kept).map(([, days]) => days);
  assert.deepEqual([365, 90, 7, 1].map(days), [[1, 7, 90, 0], [1, 7, 0], [1, 0], [0]]);
});

test('news are what was not known, happened again or lost its project, and nothing else', () => {
  const [one, two] = [item('ask', { verb: 'start' }), { ...item('network', {}), id: 2 }];
  const known = new Map([[1, one], [2, two]]);
  assert.deepEqual(newsOf(known, structuredClone([two, one])), []);
  const again = { ...two, times: 2, lastAt: '2026-11-23T12:05:00Z' };
  const gone = { ...one, projectDeleted: true };
  const three = { ...one, id: 3 };
  assert.deepEqual(newsOf(known, [three, again, gone]), [three, again, gone]);
  assert.deepEqual(newsOf(known, []), []);
  assert.deepEqual(newsOf(new Map(), [one]), [one]);
});
