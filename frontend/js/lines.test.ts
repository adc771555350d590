import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filterOf, LineReader } from './lines.ts';

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
