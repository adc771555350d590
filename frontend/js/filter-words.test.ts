import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shows, sources, tally } from './filter-words.ts';

const rows = [
  { name: 'PGHOST', source: 'System' },
  { name: 'API_KEY', source: 'Project' },
  { name: 'API_URL', source: 'Operator' },
  { name: 'PGUSER', source: 'System' },
];
const found = (query: string, only = '') => rows.filter((row) => shows(row, query, only)).map(({ name }) => name);

test('variables are found by a part of their name and by their source, both narrow it down', () => {
  assert.deepEqual(found(''), rows.map(({ name }) => name));
  assert.deepEqual(found(' api '), ['API_KEY', 'API_URL']);
  assert.deepEqual(found('', 'System'), ['PGHOST', 'PGUSER']);
  assert.deepEqual(found('api', 'Operator'), ['API_URL']);
  assert.deepEqual(found('api', 'System'), []);
});

test('only sources that there are can be chosen, one’s own first', () => {
  assert.deepEqual(sources(rows), [['Project', 1], ['Operator', 1], ['System', 2]]);
  assert.deepEqual(sources([]), []);
});

test('it is said how many are shown, of how many', () => {
  assert.deepEqual([tally(12, 12), tally(3, 12), tally(0, 1), tally(1, 1)], ['12 variables', '3 of 12 variables', '0 of 1 variable', '1 variable']);
});
