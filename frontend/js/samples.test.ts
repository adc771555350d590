import assert from 'node:assert/strict';
import { test } from 'node:test';
import { area, kept, line, said, WINDOW_MS, type Sample } from './samples.ts';
import { bytes } from './size.ts';

const at = { now: 180_000, width: 48, height: 14, most: 100 };

test('what is older than the window is forgotten, and what a wrong clock says too', () => {
  const all: Sample[] = [[0, 1], [1, 2], [180_000, 3], [180_001, 4]];
  assert.deepEqual(kept(all, 180_000), [[1, 2], [180_000, 3]]);
});

test('a line ends now and leaves what was not seen out', () => {
  const samples: Sample[] = [[90_000, 0], [92_000, 50], [170_000, 100], [180_000, 25]];
  const drawn = line(samples, at);
  assert.equal(drawn.match(/M/g)?.length, 3, drawn);
  assert.ok(drawn.startsWith('M24.0 13.0L24.5 7.0M'), drawn);
  assert.ok(drawn.endsWith('M48.0 10.0'), drawn);
  assert.equal(line([], at), '');
  assert.ok(area([[178_000, 1], [180_000, 1]], at).endsWith('Z'));
});

test('what is far below the limit is not drawn as if it were much', () => {
  assert.equal(line([[180_000, 1]], at), 'M48.0 11.8');
  assert.equal(line([[180_000, 0]], { ...at, most: 0 }), 'M48.0 13.0');
});

test('in words it says what the line shows', () => {
  assert.equal(said('CPU', [], WINDOW_MS), 'CPU: not measured yet');
  assert.equal(said('CPU', [[0, 3.4], [120_000, 40]], WINDOW_MS), 'CPU in the last 2 minutes: now 40%, between 3% and 40%');
  assert.equal(said('Memory', [[0, 1024]], WINDOW_MS), 'Memory in the last minute: now 1 kB, between 1 kB and 1 kB');
});

test('sizes are written as everywhere', () => {
  const written = [1, 512, 1024, 1536, 20 * 1024, 812 * 1024 ** 2, 3.1 * 1024 ** 3].map(bytes);
  assert.deepEqual(written, ['1 byte', '512 bytes', '1 kB', '1.5 kB', '20 kB', '812 MB', '3.1 GB']);
});
