import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runs } from './prose.ts';

const code = (text: string) => ({ text, code: true });
const plain = (text: string) => ({ text, code: false });

test('what stands in backticks is code', () => {
  assert.deepEqual(runs('`name` is taken. Use `a`, `_`.'), [code('name'), plain(' is taken. Use '), code('a'), plain(', '), code('_'), plain('.')]);
  assert.deepEqual(runs('It is taken.'), [plain('It is taken.')]);
  assert.deepEqual(runs('`a` and `b'), [code('a'), plain(' and `b')], 'a mark that stands alone');
  assert.deepEqual(runs('<b>`<i>`'), [plain('<b>'), code('<i>')], 'nothing is read as HTML');
  assert.deepEqual(runs(''), []);
});
