import assert from 'node:assert/strict';
import { test } from 'node:test';
import { field, state, waits, type View } from './claude-words.ts';

const now = Date.parse('2026-01-02T00:00:00Z');
const view = (more: Partial<View>): View => ({ own: null, operator: false, operatorFile: '/srv/.secret/.env', waiting: [], ...more });
const own = { kind: 'apiKey', endsWith: 'wxyz', baseUrl: null, setAt: '2026-01-01T23:00:00Z' } as const;

test('without own credentials it says whose are used, and how to set some', () => {
  assert.match(state(view({}), now).lines.join(' '), /asks to sign in.*\/srv\/\.secret\/\.env/);
  assert.match(state(view({ operator: true }), now).lines.join(' '), /use them.*\/srv\/\.secret\/\.env/);
  assert.match(state(view({ operatorFile: '' }), now).lines[1], /\.secret\/\.env/);
});

test('own credentials are said without what they are', () => {
  assert.deepEqual(state(view({ own }), now), { heading: 'API key', lines: ['Set 1 hour ago. It ends in wxyz.', 'For Anthropic’s own address.'] });
  const gateway = { ...own, kind: 'authToken', endsWith: null, baseUrl: 'https://gateway.example' } as const;
  assert.deepEqual(state(view({ own: gateway, operator: true }), now), {
    heading: 'Auth token',
    lines: ['Set 1 hour ago.', 'For https://gateway.example, in place of the operator’s.'],
  });
});

test('a refusal is said beside its field', () => {
  assert.equal(field('claude-value-empty'), 'value');
  assert.equal(field('claude-url-scheme'), 'url');
  assert.equal(field('unreachable'), undefined);
  assert.match(waits(1), /^One sandbox /);
  assert.match(waits(3), /^3 sandboxes /);
});
