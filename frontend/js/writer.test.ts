import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import headless from '@xterm/headless';
import { install } from './queries.ts';
import { Writer } from './writer.ts';

const { Terminal } = headless;
const text = (value: string) => new TextEncoder().encode(value);
const page = { hidden: false };
Object.assign(globalThis, { document: page });
beforeEach(() => (page.hidden = false));

function open() {
  const terminal = new Terminal({ cols: 20, rows: 5, allowProposedApi: true });
  Object.assign(terminal, { hasSelection: () => false });
  const progress: number[] = [];
  const writer: Writer = new Writer(terminal as never, () => progress.push(writer.parsed));
  const settled = () => new Promise<void>((resolve) => writer.then(() => setImmediate(resolve)));
  const line = (row: number) => terminal.buffer.active.getLine(row)?.translateToString(true);
  return { terminal, writer, progress, settled, line };
}

test('what happens between two bytes happens between them', async () => {
  const { terminal, writer, settled, line } = open();
  const seen: string[] = [];
  writer.stream(0, text('abc'), 0);
  writer.then(() => seen.push(`${line(0)} at ${writer.parsed}`));
  writer.stream(3, text('def'), 0);
  writer.then(() => terminal.resize(10, 5));
  writer.say(() => `|${line(0)}|`);
  writer.stream(6, text('ghi'), 0);
  await settled();
  assert.deepEqual(seen, ['abc at 3']);
  assert.equal(line(0), 'abcdef|abc');
  assert.equal(line(1), 'def|ghi');
  assert.equal(writer.parsed, 9);
});

test('a question just below the edge is in the replay and one just above is not', async () => {
  const { terminal, writer, settled } = open();
  const edge = 4;
  install(terminal.parser as never, () => writer.parsed < edge);
  let sent = '';
  terminal.onData((data) => (sent += data));
  writer.stream(0, text('\x1b[5n\x1b[6n'), edge);
  await settled();
  assert.equal(sent, '\x1b[1;1R');
});

test('a large piece is parsed in chunks, each told, all once', async () => {
  const { writer, progress, settled, line } = open();
  const big = text('0123456789\r\n'.repeat(60_000));
  writer.stream(1000, big, 0);
  assert.equal(writer.backlog, big.length);
  await settled();
  assert.equal(writer.backlog, 0);
  assert.equal(writer.parsed, 1000 + big.length);
  assert.ok(progress.length >= 10 && progress.every((at, index) => index === 0 || at >= progress[index - 1]!));
  assert.equal(line(0), '0123456789');
});

test('out of sight it is parsed without a timer', async () => {
  const { writer, settled, line } = open();
  page.hidden = true;
  const real = globalThis.setTimeout;
  globalThis.setTimeout = (() => assert.fail('a timer')) as never;
  try {
    writer.stream(0, text('x'.repeat(150_000) + '\r\nlast'), 0);
    await settled();
  } finally {
    globalThis.setTimeout = real;
  }
  assert.equal(writer.parsed, 150_006);
  assert.equal(line(1004), 'last');
});

test('what was disposed says nothing more', async () => {
  const { writer, progress } = open();
  writer.stream(0, text('abc'), 0);
  writer.then(() => assert.fail('called'));
  writer.dispose();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(progress, []);
});
