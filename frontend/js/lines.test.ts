import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filterOf, Held, type Line, LineReader, pauseMs } from './lines.ts';

test('lines are whole, however they come', () => {
  const all = '{"at":null,"text":"a"}\n{"at":"2030-01-02T03:04:05Z","text":"b\\nc"}\nnonsense\n{"text":7}\n{"text":"d"';
  const whole = new LineReader().take(all);
  assert.deepEqual(whole, [{ at: null, text: 'a' }, { at: '2030-01-02T03:04:05Z', text: 'b\nc' }]);
  const reader = new LineReader();
  assert.deepEqual([...all].flatMap((piece) => reader.take(piece)), whole);
  assert.deepEqual(reader.take('}\n'), [{ at: null, text: 'd' }]);
});

test('a filter leaves what has its words, whatever their case, and everything where it is empty', () => {
  const lines = ['GET /boats 200', 'get /boats 500', 'POST /boats 500'];
  assert.deepEqual(lines.filter(filterOf(' Get /boats ')), lines.slice(0, 2));
  assert.deepEqual(lines.filter(filterOf('  ')), lines);
  assert.deepEqual(lines.filter(filterOf('.*')), []);
});

const log = (...texts: string[]): Line[] => texts.map((text) => ({ at: null, text }));
const held = (shown: Line[]): Held => new Held(shown[0]!, shown.at(-1)!, shown.length);

test('a log that comes again leaves what is shown of it, and brings what came meanwhile', () => {
  const again = held(log('a', 'b', 'a'));
  assert.equal(again.take(log('a')), false, 'the first of two that are the same');
  assert.equal(again.take(log('b', 'a', 'c')), true);
  assert.deepEqual(again.release(), { more: log('c') });
  const nothing = held(log('a'));
  assert.equal(nothing.take(log('a')), true);
  assert.deepEqual(nothing.release(), { more: [] });
});

test('a log that is longer than what was shown of it, or another one, takes its place', () => {
  const longer = held(log('c', 'd'));
  assert.equal(longer.take(log('a', 'b', 'c')), false);
  assert.equal(longer.take(log('d', 'e')), true);
  assert.deepEqual(longer.release(), { all: log('a', 'b', 'c', 'd', 'e') });
  const another = held(log('a', 'b', 'c'));
  assert.equal(another.take(log('x', 'y')), false);
  assert.deepEqual(another.release(), { all: log('x', 'y') });
  assert.deepEqual(held(log('a')).release(), { all: [] }, 'one that is gone');
});

test('of a log that was long watched, its last lines alone come again', () => {
  const lines = log(...Array.from({ length: 5_000 }, (_, at) => `${at}`));
  const again = new Held(log('long ago')[0]!, lines.at(-1)!, 12_000);
  assert.equal(again.take(lines), true);
  assert.deepEqual(again.release(), { all: lines });
});

test('a log that has ended is left alone, and one that broke off is not', () => {
  const soon = pauseMs('sandbox', false, false);
  assert.ok(soon <= 2_000);
  for (const [source, over, rests] of [['past', false, false], ['install', false, true], ['sandbox', true, false], ['database', true, false]] as const) {
    assert.equal(pauseMs(source, over, rests), soon, source);
  }
  for (const [source, rests] of [['past', false], ['install', false], ['sandbox', true], ['keeper', true]] as const) {
    assert.ok(pauseMs(source, true, rests) >= 10_000, source);
  }
});
