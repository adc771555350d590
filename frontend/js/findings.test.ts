import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FindingReader, question, summary, type Finding } from './findings.ts';

const line = (finding: object) => `${JSON.stringify(finding)}\n`;

test('findings are whole lines, whatever the pieces', () => {
  const reader = new FindingReader();
  const text = line({ check: 'disk', verdict: 'ok', what: 'ä', why: 'b' }) + line({ check: 'ports', verdict: 'fail', what: 'c', why: 'd', mend: ['e'], detail: 'f' });
  const found = [...text].flatMap((letter) => reader.take(letter));
  assert.deepEqual(found, [
    { check: 'disk', verdict: 'ok', what: 'ä', why: 'b', mend: [] },
    { check: 'ports', verdict: 'fail', what: 'c', why: 'd', mend: ['e'], detail: 'f' },
  ]);
});

test('what is no finding is left out', () => {
  const reader = new FindingReader();
  assert.deepEqual(reader.take('nonsense\n{"check":"a"}\n{"check":"a","verdict":"odd","what":"b"}\n[]\n'), []);
});

test('the summary counts what is not well', () => {
  const of = (...verdicts: Finding['verdict'][]) => summary(verdicts.map((verdict) => ({ check: '', verdict, what: '', why: '', mend: [] })));
  assert.equal(of('ok'), '1 check: all is well');
  assert.equal(of('ok', 'warn', 'warn'), '3 checks: 2 to look at');
  assert.equal(of('fail', 'ok', 'warn'), '3 checks: 1 failed, 1 to look at');
});

test('a project is asked for where the page names one', () => {
  assert.equal(question('', false), '');
  assert.equal(question('?other=1', true), '?probes=true');
  assert.equal(question('?project=a%26b', false), '?project=a%26b');
  assert.equal(question('?project=a', true), '?project=a&probes=true');
});
