import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyOwner, keySequence, leadsIntoSearch, sendsForm, withCtrl } from './keys.ts';

const key = (chord: string, code: string, name = '') => ({
  key: name, code,
  ctrlKey: chord.includes('C'), shiftKey: chord.includes('S'), altKey: chord.includes('A'), metaKey: chord.includes('M'),
});

test('the page keeps its few keys', () => {
  assert.equal(keyOwner(key('CS', 'Backquote', '~'), false), 'page');
  assert.equal(keyOwner(key('A', 'Digit9', '9'), false), 'page');
  assert.equal(keyOwner(key('CS', 'Escape', 'Escape'), false), 'leave');
});

test('the terminal keeps every other', () => {
  for (const [chord, code, name] of [
    ['C', 'KeyC', 'c'], ['C', 'KeyV', 'v'], ['C', 'KeyK', 'k'], ['M', 'KeyK', 'k'], ['', 'Escape', 'Escape'], ['', 'Tab', 'Tab'], ['S', 'Tab', 'Tab'],
    ['A', 'Digit0', '0'], ['CS', 'KeyK', 'K'], ['A', 'KeyK', 'k'], ['C', 'KeyW', 'w'], ['CS', 'KeyT', 'T'],
  ] as const) {
    assert.equal(keyOwner(key(chord, code, name), false), 'terminal', chord + code);
  }
});

test('copy and paste are where each system has them', () => {
  assert.equal(keyOwner(key('CS', 'KeyC', 'C'), false), 'copy');
  assert.equal(keyOwner(key('CS', 'KeyV', 'V'), false), 'paste');
  assert.equal(keyOwner(key('M', 'KeyC', 'c'), true), 'copy');
  assert.equal(keyOwner(key('M', 'KeyV', 'v'), true), 'paste');
  assert.equal(keyOwner(key('S', 'Insert', 'Insert'), false), 'paste');
});

test('a slash leads into the search, wherever the keyboard has it, and is the terminal’s inside one', () => {
  assert.equal(leadsIntoSearch(key('', 'Slash', '/')), true);
  assert.equal(leadsIntoSearch(key('S', 'Digit7', '/')), true);
  for (const chord of ['C', 'A', 'M']) assert.equal(leadsIntoSearch(key(chord, 'Slash', '/')), false, chord);
  assert.equal(leadsIntoSearch(key('S', 'Slash', '?')), false);
  assert.equal(keyOwner(key('', 'Slash', '/'), false), 'terminal');
});

test('Enter with Ctrl or Command sends a form, and with nothing or more it does not', () => {
  for (const chord of ['C', 'M']) assert.equal(sendsForm(key(chord, 'Enter', 'Enter')), true, chord);
  for (const chord of ['', 'S', 'A', 'CS', 'CA', 'CM']) assert.equal(sendsForm(key(chord, 'Enter', 'Enter')), false, chord);
  assert.equal(sendsForm(key('C', 'KeyS', 's')), false);
});

test('the on-screen keys follow the cursor mode', () => {
  assert.equal(keySequence('ArrowUp', false), '\x1b[A');
  assert.equal(keySequence('ArrowUp', true), '\x1bOA');
  assert.equal(keySequence('F13', false), '');
});

test('Ctrl held makes a control character of one that has one', () => {
  assert.equal(withCtrl('c'), '\x03');
  assert.equal(withCtrl('['), '\x1b');
  assert.equal(withCtrl(' '), '\0');
  assert.equal(withCtrl('1'), '1');
  assert.equal(withCtrl('ab'), 'ab');
});
