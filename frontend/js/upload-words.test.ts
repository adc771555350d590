import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ending, missed, underWay } from './upload-words.ts';

const full = (name: string) => ({ name, why: 'The disk is full.' });

test('what was not uploaded is named, with every reason once', () => {
  assert.equal(missed(1, [full('a\nb')]), 'a\uFFFDb was not uploaded. The disk is full.');
  assert.equal(missed(10, [full('c.png')]), '1 of 10 was not uploaded: c.png. The disk is full.');
  const three = [full('a'), { name: 'b', why: 'It was stopped.' }, full('c')];
  assert.equal(missed(3, three), '3 of 3 were not uploaded: a, b, c. The disk is full. It was stopped.');
  assert.equal(missed(9, [...'abcdefg'].map(full)), '7 of 9 were not uploaded: a, b, c, d, e and 2 more. The disk is full.');
});

test('while they are under way their number is said, and where to', () => {
  assert.deepEqual(underWay(1, 'shots'), { title: 'A file is being uploaded', text: 'Into shots.' });
  assert.deepEqual(underWay(3, 'the home folder'), { title: '3 files are being uploaded', text: 'Into the home folder.' });
});

test('the end says how many there are, and where, or what is missing', () => {
  assert.deepEqual(ending(1, [], 'shots'), { title: 'A file was uploaded', text: 'It is in shots.', tone: 'good' });
  assert.deepEqual(ending(3, [], 'shots'), { title: '3 files were uploaded', text: 'They are in shots.', tone: 'good' });
  assert.equal(ending(3, [full('a')], 'shots').title, 'Not everything was uploaded');
  assert.deepEqual(ending(1, [full('a')], 'shots'), { title: 'Nothing was uploaded', text: 'a was not uploaded. The disk is full.', tone: 'bad' });
});
