import assert from 'node:assert/strict';
import { test } from 'node:test';
import headless from '@xterm/headless';
import { PLAIN, aside, below, newShell, scrollAway, size, skipped } from './words.ts';

const { Terminal } = headless;
type Screen = InstanceType<typeof Terminal>;
const write = (terminal: Screen, text: string) => new Promise<void>((resolve) => terminal.write(text, resolve));
const lines = ({ buffer: { active } }: Screen) =>
  Array.from({ length: active.length }, (_, row) => active.getLine(row)?.translateToString(true) ?? '');

test('sizes are said as people say them', () => {
  assert.deepEqual([0, 1, 999, 1500, 9_000_000, 9_437_184, 12_345_678, 2.5e9].map(size), [
    '0 bytes', '1 byte', '999 bytes', '1.5 kB', '9 MB', '9.4 MB', '12 MB', '2.5 GB',
  ]);
  assert.equal(skipped(9_000_000), '… 9 MB skipped');
  assert.match(newShell(12, true), /12 bytes that you typed/);
  assert.doesNotMatch(newShell(0, true), /typed/);
});

test('making room keeps what was on the screen in the rows above', async () => {
  const terminal = new Terminal({ cols: 20, rows: 5, allowProposedApi: true });
  await write(terminal, 'one\r\ntwo\r\nthree');
  await write(terminal, PLAIN + scrollAway(3, 5) + aside('gap') + 'next');
  assert.deepEqual(lines(terminal).slice(0, 5), ['one', 'two', 'three', 'gap', 'next']);
  assert.equal(terminal.buffer.active.baseY, 3);
});

test('an aside after the end stands under the last line', async () => {
  const terminal = new Terminal({ cols: 20, rows: 5, allowProposedApi: true });
  await write(terminal, '1\r\n2\r\n3\r\n4\r\n5');
  await write(terminal, below(5) + 'end');
  assert.deepEqual(lines(terminal), ['1', '2', '3', '4', '5', 'end']);
});

test('plain is plain, whatever was on', async () => {
  const terminal = new Terminal({ cols: 20, rows: 5, allowProposedApi: true });
  await write(terminal, 'kept\x1b[?1049h\x1b[?1003h\x1b[?1006h\x1b[?2004h\x1b[?1h\x1b[4h\x1b[?6h\x1b[2;3r\x1b[31min\x1b[38;5');
  await write(terminal, PLAIN + 'm');
  const { modes, buffer } = terminal;
  assert.equal(buffer.active.type, 'normal');
  assert.equal(lines(terminal)[0]?.startsWith('kept'), true);
  assert.deepEqual(
    [modes.mouseTrackingMode, modes.bracketedPasteMode, modes.applicationCursorKeysMode, modes.insertMode, modes.originMode],
    ['none', false, false, false, false],
  );
});
