import assert from 'node:assert/strict';
import { test } from 'node:test';
import { browser, since } from './signed-in-words.ts';
import { fresh } from './sessions.ts';

test('browsers are called as people call them', () => {
  assert.equal(browser('Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/140.0 Safari/537.36'), 'Chrome on Linux');
  assert.equal(browser('Mozilla/5.0 (Windows NT 10.0; Win64) Chrome/140 Safari/537.36 Edg/140'), 'Edge on Windows');
  assert.equal(browser('Mozilla/5.0 (iPhone; CPU iPhone OS 18 like Mac OS X) Version/18 Safari/604.1'), 'Safari on iOS');
  assert.equal(browser(null), 'A browser');
  assert.equal(browser('x'.repeat(100)).length, 60);
});

test('times are whole', () => {
  const now = Date.parse('2026-01-02T00:00:00Z');
  assert.equal(since('2026-01-01T23:59:30Z', now), 'Signed in just now');
  assert.equal(since('2026-01-01T23:00:00Z', now), 'Signed in 1 hour ago');
  assert.equal(since('2025-12-30T00:00:00Z', now), 'Signed in 3 days ago');
});

test('a new session has a name that none had', () => {
  assert.equal(fresh([]), 'shell-2');
  assert.equal(fresh(['main', 'shell-4', 'other']), 'shell-5');
});
