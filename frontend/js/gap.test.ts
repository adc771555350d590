import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gap } from './gap.ts';

const text = (...lines: string[]) => new TextEncoder().encode(lines.map((line) => `${line}\r\n`).join(''));
const shown = (gap: Gap) => gap.release().map(({ bytes }) => new TextDecoder().decode(bytes)).join('');

test('what fits is shown whole', () => {
  const gap = new Gap(500, 100, 10, 80);
  gap.hold(100, text('one', 'two'));
  gap.hold(110, text('three'));
  assert.equal(shown(gap), 'one\r\ntwo\r\nthree\r\n');
  assert.equal(gap.skipped, 500);
});

test('what would push the word about the gap out is left out, and counted', () => {
  const gap = new Gap(500, 0, 3, 80);
  gap.hold(0, text('one', 'two', 'three'));
  gap.hold(17, text('four', 'five'));
  const parts = gap.release();
  assert.equal(parts.map(({ bytes }) => new TextDecoder().decode(bytes)).join(''), 'three\r\nfour\r\nfive\r\n');
  assert.equal(parts[0]!.offset, 10);
  assert.equal(gap.skipped, 510);
});

test('a long line counts as the rows that it fills', () => {
  const gap = new Gap(0, 0, 3, 10);
  gap.hold(0, text('first', 'x'.repeat(25)));
  assert.equal(shown(gap), `${'x'.repeat(25)}\r\n`);
  assert.equal(gap.skipped, 7);
});

test('a line that is longer than all of it is left out', () => {
  const gap = new Gap(0, 0, 2, 10);
  gap.hold(0, text('x'.repeat(100)));
  assert.equal(shown(gap), '');
  assert.equal(gap.skipped, 102);
});
