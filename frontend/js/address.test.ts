import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pathOf, signInFrom } from './address.ts';

const PREVIEW = 'http://3000--boats.localhost:4000/';

test('a path, with or without its slash, and an address of this very preview', () => {
  for (const [typed, path] of [
    ['/boats?x=1', '/boats?x=1'],
    [' /boats#sails ', '/boats#sails'],
    ['boats/1', '/boats/1'],
    ['?x=a.b', '/?x=a.b'],
    ['#top', '/#top'],
    ['', '/'],
    ['/', '/'],
    ['/a/../b', '/b'],
    ['/größe', '/gr%C3%B6%C3%9Fe'],
    ['/x?next=https://example.com', '/x?next=https://example.com'],
    ['http://3000--boats.localhost:4000', '/'],
    ['HTTP://3000--BOATS.localhost:4000/a?b#c', '/a?b#c'],
    ['3000--boats.localhost:4000/a', '/a'],
    ['3000--boats.localhost:4000', '/'],
  ] as const) {
    assert.equal(pathOf(typed, PREVIEW), path, typed);
  }
});

test('another host, another port and another scheme are none', () => {
  for (const typed of [
    'https://3000--boats.localhost:4000/',
    'http://5000--boats.localhost:4000/',
    'http://3000--boats.localhost:5000/',
    'http://localhost:4000/',
    'localhost:3000/boats',
    'example.com',
    'example.com/boats',
    '//example.com/',
    '/\\example.com',
    '\\\\example.com',
    '/x/..//example.com',
    'javascript:alert(1)',
    'data:text/html,x',
    'http://',
    '3000--boats.localhost:4000.example.com/',
    '3000--boats.localhost:4000@example.com/',
  ]) {
    assert.equal(pathOf(typed, PREVIEW), undefined, typed);
  }
});

test('a sign-in leads back to where it was asked for, whole', () => {
  assert.equal(signInFrom('/'), '/sign-in');
  const path = '/projects/1/activity?kind=sandbox&q=a b#preview';
  assert.equal(new URL(signInFrom(path), 'http://localhost').searchParams.get('next'), path);
});
