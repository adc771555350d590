import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LineReader } from './lines.ts';

test('lines are whole, however they come', () => {
  const all = '{"at":null,"text":"a"}\n{"at":"2030-01-02T03:04:05Z","text":"b\\nc"}\nnonsense\n{"text":7}\n{"text":"d"';
  const whole = new LineReader().take(all);
  assert.deepEqual(whole, [{ at: null, text: 'a' }, { at: '2030-01-02T03:04:05Z', text: 'b\nc' }]);
  const reader = new LineReader();
  assert.deepEqual([...all].flatMap((piece) => reader.take(piece)), whole);
  assert.deepEqual(reader.take('}\n'), [{ at: null, text: 'd' }]);
});
